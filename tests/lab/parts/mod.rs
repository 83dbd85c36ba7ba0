//! The parts, in the order in which they run. One is added here and nowhere else.

mod blocks;
mod crash;
mod crowd;
mod damage;
mod errors;
mod fuzz;
mod kills;
mod model;
mod plants;
mod rot;
mod scarce;
mod schedules;
mod several;
mod vectors;

use treering_tests::lab::Part;

/// What runs for seconds takes longer to be made faster by a seventh than that brings. Not for the scheduler, whose orders are tried
/// four times as fast, and whose threads have small stacks.
const QUICKLY_BUILT: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

/// All parts.
pub(crate) fn all() -> Vec<Box<dyn Part>> {
    vec![
        // Those that take as long as they take, and those that build or wait for processes, come before those that do as much as
        // the time allows: so all of it ends when it was to end.
        Box::new(plants::PlantedBugs),
        Box::new(vectors::Vectors),
        Box::new(kills::CallKills),
        Box::new(kills::Kills),
        Box::new(crowd::Crowd),
        Box::new(blocks::Blocks),
        Box::new(scarce::Scarce),
        Box::new(schedules::Schedules),
        Box::new(fuzz::Fuzz),
        Box::new(errors::ErrorSweep),
        Box::new(several::Several),
        Box::new(model::ModelSequences),
        Box::new(rot::Rot),
        Box::new(damage::Damage),
        Box::new(crash::CrashStates),
    ]
}
