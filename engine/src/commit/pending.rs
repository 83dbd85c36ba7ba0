//! A batch that is in the log and on its way to its level of durability.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::Result;
use crate::append::Receipt;
use crate::commit::writer::Writer;
use crate::options::Durability;

/// A batch that was appended and waits for its level: block with [`wait`](Self::wait), or await it.
///
/// Dropping it takes nothing back: the batch is in the log and becomes durable all the same.
#[derive(Debug)]
#[must_use = "the batch is in the log, but its level of durability is not reached until this was waited for"]
pub struct Pending {
    writer: Arc<Writer>,
    receipt: Receipt,
    level: Durability,
}

impl Pending {
    pub(crate) fn new(writer: Arc<Writer>, receipt: Receipt, level: Durability) -> Pending {
        Pending { writer, receipt, level }
    }

    /// Where the batch is, whatever was reached so far: [`Receipt::level`] says it.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Blocks until the batch's level is reached.
    ///
    /// # Errors
    /// [`Poisoned`](crate::ErrorKind::Poisoned) where a sync failed: whether the batch survives is unknown until the store
    /// is reopened; [`Removed`](crate::ErrorKind::Removed) where files of the store were taken away; [`Forked`](crate::ErrorKind::Forked) in a fork of the process that appended it.
    pub fn wait(mut self) -> Result<Receipt> {
        self.writer.set.check_process()?;
        if self.level == Durability::Synced {
            self.writer.wait_durable(self.receipt.end)?;
            self.receipt.level = Durability::Synced;
        }
        Ok(self.receipt)
    }
}

impl Future for Pending {
    type Output = Result<Receipt>;

    /// Resolves when the batch's level is reached. Needs no runtime: a thread that syncs wakes the task, and holds no lock then. So a
    /// waker may append and read, but whoever woke it waits for it; one that panics is as one that does nothing.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Receipt>> {
        if let Err(error) = self.writer.set.check_process() {
            return Poll::Ready(Err(error));
        }
        if self.level == Durability::Synced {
            match self.writer.poll_durable(self.receipt.end, context.waker()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => self.receipt.level = Durability::Synced,
            }
        }
        Poll::Ready(Ok(self.receipt.clone()))
    }
}
