//! Bugs on purpose, to see that the tests notice.
//!
//! Each is a mistake that was made once, here or elsewhere, or nearly was. Built with `--cfg treering_planted` (for the
//! laboratory only: never a feature, and no manifest sets it) one of them is switched on at run time, by its name. In every
//! other build the question `planted` is `false` as it stands, and the compiler leaves nothing of it.
//!
//! To add one: name it here, ask for it where the mistake would be, in one line, and say in `tests/lab/parts/plants.rs`
//! which part of the laboratory finds it.

macro_rules! plants {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Plant {
            $($(#[$doc])* $name,)*
        }

        /// All of them, with their names.
        pub const ALL: &[(&str, Plant)] = &[$((stringify!($name), Plant::$name)),*];
    };
}

plants! {
    /// A shared writer that rolls leaves no mark that it did.
    RollNotMarked
    /// A sync that a dead process left behind is not asked about.
    DeadSyncTrusted
    /// A descriptor vouches for what was written before it was opened.
    FreshFileTrusted
    /// Who reads on takes what a process began and died in for a whole frame.
    BegunTakenForWhole
    /// That another process had an error is not looked at.
    OthersErrorIgnored
    /// A Synced append does not wait for its sync.
    AckBeforeSync
    /// A sync leaves the active segment out.
    ActiveNotSynced
    /// A sync leaves segments out that were left.
    LeftNotSynced
    /// The durable mark rises before the sync.
    DurableBeforeSync
    /// A sync that failed is tried again, and believed.
    SyncRetried
    /// A failed sync does not poison.
    NoPoisonAfterSync
    /// Every failed write is taken for a full disk.
    WriteErrorsAreNoSpace
    /// The number of events moves before the write has succeeded.
    NumberMovesFirst
    /// Frames witness what was committed.
    WitnessCommitted
    /// The open frame after a roll witnesses what was committed.
    OpenWitnessCommitted
    /// Closed as clean before the last sync.
    ClosedBeforeSync
    /// A roll does not make its name durable.
    NoDirectorySyncAtRoll
    /// A segment gets its name before it was synced.
    PublishedUnsynced
    /// Opening for reading syncs the directory.
    ReaderSyncsDirectory
    /// The frame check is not looked at above the witness.
    FrameCheckIgnored
    /// Recovery goes on in an old tail.
    GoesOnInOldTail
    /// A takeover does not make durable what no witness covers.
    TakeoverNotMadeDurable
    /// A takeover syncs without writing the same bytes again.
    TakeoverSyncsOnly
    /// The stated end of a segment is not looked at.
    StatedEndIgnored
    /// A takeover does not count in the epoch.
    TakeoverNotCounted
    /// Who goes on in a segment leaves the CLEAN slot standing.
    CleanSlotLeft
    /// The writer's lock is not taken.
    LockSkipped
    /// The header check of a frame is not looked at.
    HeaderCheckIgnored
    /// The check of a body before coding, or of an event, is not looked at.
    EventCheckIgnored
    /// Damage is taken for a torn tail.
    DamageIsTorn
    /// A reader calls durable what it sees.
    ReaderTrustsCache
    /// A retry is not recognised by its batch id.
    RetryForgotten
    /// A control page of another run of the machine counts.
    PageOfOtherBoot
    /// What the control page says was durable is not looked up in the log.
    PageUnproven
    /// Expected revisions are not looked at.
    ExpectationsIgnored
    /// No room is kept for the index block.
    NoRoomForIndexBlock
    /// A watermark slot that is of another file, or of another history of this one, counts.
    StaleWatermark
    /// The end up to which the control page says that the log was shown is not compared with the log.
    ShownEndIgnored
    /// The mark of a sync whose end nobody heard is not looked at.
    SyncInFlightIgnored
    /// The mark of a failed write or sync is not looked at.
    PoisonMarkIgnored
    /// A frame need not follow the one before it.
    ChainIgnored
    /// Behind damage whatever looks like a frame is taken for one.
    SearchTakesAnything
    /// Salts are not part of the checks.
    SaltIgnored
    /// A leader that has synced wakes nobody to lead the next sync.
    LeaderDropsFollower
    /// Who stands in a segment that was left since does not look up where it ended.
    EndNotLookedUp
    /// A fork is not waited for.
    ForkAckBeforeSync
    /// The index block does not list the forks of its stretch.
    ForkNotListed
    /// A fork leads to a place beside the frame of its last shared event.
    ForkPlaceOff
    /// The jump link of every fork leads to its parent.
    ForkJumpsToParent
    /// A fork whose link leaps says its own fork revision as the lowest.
    ForkLowestOwn
    /// A fork that is met in the log begins at 0.
    ForkHeadRestarts
    /// A token counts though the stream was claimed again.
    OldTokenCounts
    /// Claims that are met in the log at opening are not noted.
    ClaimNotNoted
    /// What lies behind an old token is not read for newer claims.
    ClaimNotLookedUp
    /// A snapshot is not waited for.
    SnapshotAckBeforeSync
    /// No item binds the events of a snapshot.
    SnapshotNotBound
    /// A snapshot says the chain before its range for that at its end.
    SnapshotChainStale
    /// A cursor moves without saying where to.
    CursorWithoutPlace
    /// Of several segments that a copy does not have only the first is called not copied.
    OneMissingIsCopied
}

/// Whether this build can switch them on.
pub const IS_PLANTED: bool = cfg!(treering_planted);

/// Which is switched on, one more than its place; 0 for none.
#[cfg(treering_planted)]
static ACTIVE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Whether this bug is switched on.
#[cfg(treering_planted)]
#[inline]
pub(crate) fn planted(plant: Plant) -> bool {
    ACTIVE.load(std::sync::atomic::Ordering::Relaxed) == plant as usize + 1
}

/// Whether this bug is switched on: never.
#[cfg(not(treering_planted))]
#[inline(always)]
pub(crate) const fn planted(_: Plant) -> bool {
    false
}

/// Switches a bug on, for the rest of the process. `false` where there is none of this name, or this build has none.
#[must_use]
pub fn plant(name: &str) -> bool {
    let found = ALL.iter().find(|(known, _)| *known == name);
    #[cfg(treering_planted)]
    if let Some((_, plant)) = found {
        ACTIVE.store(*plant as usize + 1, std::sync::atomic::Ordering::Relaxed);
    }
    IS_PLANTED && found.is_some()
}

/// The name of the one that is switched on.
#[must_use]
pub fn active() -> Option<&'static str> {
    ALL.iter().find(|(_, known)| planted(*known)).map(|(name, _)| *name)
}
