//! Does a claim hold in every state that some order of steps leads to? All states are visited, those that fewer steps lead to
//! first, so that the trace of a violation is a shortest one.
//!
//! A state is kept as a 64-bit hash and the step that led to it; a trace is made by doing the steps again. Two states that share a hash
//! would be taken for one: with five million states the odds are one to a million.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::fmt::Display;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What is explored.
pub(super) trait Model {
    /// All there is at one moment.
    type State: Copy + Hash + Display;
    /// Something that may happen next.
    type Action: Copy;
    /// The first moment.
    fn start(&self) -> Self::State;
    /// All that could happen, whatever the state.
    fn actions(&self) -> Vec<Self::Action>;
    /// Does an action where it can happen, and says who did what.
    fn step(&self, state: &mut Self::State, action: Self::Action) -> Option<(char, &'static str)>;
    /// Whether an action is a fault, which nobody may wait for.
    fn is_fault(&self, action: Self::Action) -> bool;
    /// The claim that does not hold in a state.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
    /// Whether all work is done.
    fn is_done(&self, state: &Self::State) -> bool;
}

/// All states were visited, and every claim holds.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// Steps to the state that is farthest from the first one.
    pub(super) depth: usize,
}

/// A claim does not hold.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) claim: &'static str,
    pub(super) states: usize,
    /// What happened, one step a line.
    pub(super) trace: Vec<String>,
}

/// What is claimed of every model: nobody waits for ever, and nobody goes round in circles for ever.
pub(super) const STUCK: &str = "work is left, and everybody waits";
pub(super) const ENDLESS: &str = "from here the work can never be done, though nothing fails any more";

/// Hashes are spread well enough as they are.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed")
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn hash_of(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Visits every state.
pub(super) fn explore<M: Model>(model: &M) -> Result<Explored, Violation> {
    let actions = model.actions();
    let start = model.start();
    let mut seen: HashMap<u64, u32, BuildHasherDefault<AsItIs>> = HashMap::default();
    // For each state the one before it, and the action between them.
    let mut came_from: Vec<(u32, u8)> = vec![(0, 0)];
    // Steps that are no faults, as (to, from).
    let mut steps: Vec<(u32, u32)> = Vec::new();
    let mut done: Vec<u32> = Vec::new();
    let mut all_steps = 0;
    let mut depth = 0;
    seen.insert(hash_of(&start), 0);
    let mut frontier = vec![(start, 0_u32)];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for (state, number) in frontier {
            if let Some(claim) = model.broken(&state) {
                return Err(violation(model, &actions, &came_from, number, claim));
            }
            let is_done = model.is_done(&state);
            if is_done {
                done.push(number);
            }
            let steps_before = steps.len();
            for (which, &action) in actions.iter().enumerate() {
                let mut after = state;
                if model.step(&mut after, action).is_none() {
                    continue;
                }
                all_steps += 1;
                let there = match seen.entry(hash_of(&after)) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => {
                        let there = came_from.len() as u32;
                        new.insert(there);
                        came_from.push((number, which as u8));
                        next.push((after, there));
                        there
                    }
                };
                if !model.is_fault(action) {
                    steps.push((there, number));
                }
            }
            if !is_done && steps.len() == steps_before {
                return Err(violation(model, &actions, &came_from, number, STUCK));
            }
        }
        depth += usize::from(!next.is_empty());
        frontier = next;
    }
    match cannot_end(came_from.len(), steps, done) {
        Some(number) => Err(violation(model, &actions, &came_from, number, ENDLESS)),
        None => Ok(Explored { states: came_from.len(), steps: all_steps, depth }),
    }
}

/// The first state from which no steps lead to an end.
fn cannot_end(states: usize, mut steps: Vec<(u32, u32)>, done: Vec<u32>) -> Option<u32> {
    steps.sort_unstable();
    let mut can_end = vec![false; states];
    let mut to_visit = done;
    while let Some(number) = to_visit.pop() {
        if std::mem::replace(&mut can_end[number as usize], true) {
            continue;
        }
        let first = steps.partition_point(|&(to, _)| to < number);
        to_visit.extend(steps[first..].iter().take_while(|&&(to, _)| to == number).map(|&(_, from)| from));
    }
    can_end.iter().position(|can| !can).map(|number| number as u32)
}

fn violation<M: Model>(
    model: &M,
    actions: &[M::Action],
    came_from: &[(u32, u8)],
    mut number: u32,
    claim: &'static str,
) -> Violation {
    let mut way = Vec::new();
    while number != 0 {
        let (before, which) = came_from[number as usize];
        way.push(actions[usize::from(which)]);
        number = before;
    }
    let mut state = model.start();
    let mut trace = vec![format!("{:<60}{state}", "at first")];
    for action in way.into_iter().rev() {
        let (who, what) = model.step(&mut state, action).expect("the step was made before");
        trace.push(format!("{who} {what:<58}{state}"));
    }
    Violation { claim, states: came_from.len(), trace }
}
