//! One of the fuzz targets, led by coverage: `tests/scripts/fuzz.sh` builds and starts it.
//!
//! The targets, what they assert and what they start from are those of `attestor/tests/fuzz`. libFuzzer chooses
//! among the inputs by the code that they reach; half of its changes are made by the mutations there, which
//! know the formats. `KILN_FUZZ_TARGET` names the target, and `KILN_FUZZ_SEEDS` the folder that its first
//! inputs are written to.
//!
//! Does not catch: reads and writes out of bounds, which safe code cannot make; no address sanitizer is built in.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[path = "../tests/attestor/forger.rs"]
#[allow(dead_code, reason = "shared with the attestor's tests")]
mod forger;
#[path = "../tests/fuzz/mutate.rs"]
#[allow(dead_code, reason = "shared with the attestor's tests")]
mod mutate;
#[path = "../tests/fuzz/stage.rs"]
#[allow(dead_code, reason = "shared with the attestor's tests")]
mod stage;
#[path = "../tests/attestor/support.rs"]
#[allow(dead_code, reason = "shared with the attestor's tests")]
mod support;
#[path = "../tests/fuzz/targets.rs"]
#[allow(dead_code, reason = "shared with the attestor's tests")]
mod targets;

use mutate::{Chance, mutate};
use stage::Stage;
use targets::{TARGETS, Target};

struct Chosen {
    stage: Stage,
    target: &'static Target,
    seeds: Vec<Vec<u8>>,
}

fn chosen() -> &'static Chosen {
    static CHOSEN: OnceLock<Chosen> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("KILN_FUZZ_TARGET").expect("KILN_FUZZ_TARGET names a target");
        let target = TARGETS.iter().find(|one| one.name == name).expect("there is such a target");
        let stage = Stage::new();
        let seeds = (target.seeds)(&stage);
        Chosen { stage, target, seeds }
    })
}

fuzz_target!(
    init: {
        if let Ok(folder) = std::env::var("KILN_FUZZ_SEEDS") {
            for (number, seed) in chosen().seeds.iter().enumerate() {
                std::fs::write(format!("{folder}/seed-{number}"), seed).expect("there is room");
            }
        }
    },
    |bytes: &[u8]| {
        let chosen = chosen();
        let _ = (chosen.target.run)(&chosen.stage, bytes);
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed.is_multiple_of(2) {
        return fuzzer_mutate(data, size, max_size);
    }
    let chosen = chosen();
    let mut chance = Chance::new(seed.into());
    let other = &chosen.seeds[chance.below(chosen.seeds.len())];
    let made = mutate(&mut chance, &data[..size], other, chosen.target.words);
    let kept = made.len().min(max_size);
    data[..kept].copy_from_slice(&made[..kept]);
    kept
});
