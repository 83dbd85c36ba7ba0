//! How are forks drawn, so that a page of them is read at a glance and ten thousand are still a page?
//!
//! 1. Each stream is a line below its parent, further in; its forks follow it, oldest first.
//! 2. Of a long line of forks in which each is the only one of the one before, the middle is counted and not drawn.
//! 3. Nothing is drawn much further in than [`DEPTH`]: what lies deeper begins again at the left, in a tree of its own, later.
//!
//! Work and memory are those of the streams, whatever their shape: nothing here calls itself.

use std::collections::VecDeque;

use super::{Family, Node};
use crate::exit::Outcome;
use crate::output::{Out, Table, count, printable};

/// So far in a tree goes.
const DEPTH: usize = 12;
/// A line of forks is drawn whole up to so many.
const LINE: usize = 8;

/// A line still to be drawn.
struct Due {
    node: usize,
    /// What stands before its descendants' lines.
    lead: String,
    depth: usize,
    /// What stands before its name.
    branch: String,
}

/// Draws all of it.
pub(super) fn draw(family: &Family, all: bool, out: &mut Out) -> Outcome {
    let mut table = Table::new(&["stream", "leaves at", ">own", ">events", ""]);
    let mut roots: VecDeque<usize> = family.roots.iter().copied().collect();
    let mut is_first = true;
    while let Some(root) = roots.pop_front() {
        if !std::mem::take(&mut is_first) {
            table.row([""]);
        }
        let mut deeper = Vec::new();
        tree(family, root, all, &mut table, &mut deeper);
        // What was cut off comes next, before other trees.
        for node in deeper.into_iter().rev() {
            roots.push_front(node);
        }
    }
    out.line(table)
}

/// Draws one tree; what lies too deep in it is put aside.
fn tree(family: &Family, root: usize, all: bool, table: &mut Table, deeper: &mut Vec<usize>) {
    let mut due = vec![Due { node: root, lead: String::new(), depth: 0, branch: String::new() }];
    while let Some(Due { node, mut lead, mut depth, branch }) = due.pop() {
        let drawn = &family.nodes[node];
        let is_cut = depth >= DEPTH && !drawn.forks.is_empty();
        line(table, &branch, drawn, is_cut);
        if is_cut {
            deeper.push(node);
            continue;
        }
        let mut forks = drawn.forks.as_slice();
        if !all && let Some((skipped, last)) = long_line(family, node) {
            table.row([format!("{lead}└─ … {} in one line", count(skipped))]);
            lead.push_str("   ");
            depth += 1;
            forks = std::slice::from_ref(last);
        }
        for (number, fork) in forks.iter().enumerate().rev() {
            let (mark, below) = if number + 1 == forks.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let branch = format!("{lead}{mark}");
            due.push(Due { node: *fork, lead: format!("{lead}{below}"), depth: depth + 1, branch });
        }
    }
}

/// Where a stream begins a long line of forks, each the only one of the one before: how many lie in it before the last, and that.
fn long_line(family: &Family, node: usize) -> Option<(u64, &usize)> {
    let (mut at, mut passed) = (node, 0);
    let mut last = None;
    while let [fork] = family.nodes[at].forks.as_slice() {
        (at, last, passed) = (*fork, Some(fork), passed + 1);
    }
    last.filter(|_| passed > LINE).map(|last| (passed as u64 - 1, last))
}

fn line(table: &mut Table, branch: &str, node: &Node, is_cut: bool) {
    let leaves = match &node.leaves {
        Some((_, parent, revision)) => format!("{}@{revision}", printable(parent)),
        None if node.own_events < node.events => "? (lost)".to_owned(),
        None => String::new(),
    };
    let own =
        if node.own_events < node.events || node.leaves.is_some() { count(node.own_events) } else { String::new() };
    let remark = match (is_cut, node.head_known) {
        (true, _) => "its forks stand below",
        (false, false) => "damage may hide its end",
        (false, true) => "",
    };
    table.row([format!("{branch}{}", printable(&node.name)), leaves, own, count(node.events), remark.to_owned()]);
}
