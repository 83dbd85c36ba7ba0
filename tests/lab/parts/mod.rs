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

/// All parts.
pub(crate) fn all() -> Vec<Box<dyn Part>> {
    vec![
        Box::new(crash::CrashStates),
        Box::new(several::Several),
        Box::new(errors::ErrorSweep),
        Box::new(model::ModelSequences),
        Box::new(damage::Damage),
        Box::new(rot::Rot),
        Box::new(vectors::Vectors),
        // Those that wait for processes before those that take all the time there is.
        Box::new(kills::CallKills),
        Box::new(kills::Kills),
        Box::new(crowd::Crowd),
        Box::new(blocks::Blocks),
        Box::new(scarce::Scarce),
        Box::new(schedules::Schedules),
        Box::new(fuzz::Fuzz),
        Box::new(plants::PlantedBugs),
    ]
}
