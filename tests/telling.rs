//! What a build tells beside its results: states of steps, reports of tests, logs.

use serde_json::Value;

use crate::support::{PACKAGES, Ran, Who, World};

/// Returns a build file with these steps and tests.
fn file(steps: &str) -> String {
    format!(
        "kiln: 1\nname: test\nsources: {{src: {{local: src}}}}\nenvironment:\n  host: {{packages: \
         {PACKAGES}}}\n{steps}"
    )
}

#[track_caller]
fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

#[test]
fn a_failed_build_tells_the_state_of_every_step() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", &world.token);
    let steps = "steps:\n  - {name: good, run: cp input out, outputs: {out: out}}\n  - {name: bad, run: \
                 exit 3}\n  - {name: after, run: 'true', needs: [bad]}\n  - {name: last, run: 'true', needs: \
                 [after]}\n";
    world.write("kiln.yaml", &file(steps));
    for good in ["passed", "cached"] {
        let told = document(&world.kiln(&["build", "--json"]).exits(1));
        assert_eq!(told["schema"], "kiln/errors");
        assert_eq!(told["errors"][0]["code"], "KILN-0401");
        assert_eq!(told["id"].as_str().map(str::len), Some(32));
        let states: Vec<_> = ["good", "bad", "after", "last"]
            .map(|step| told["steps"][step]["state"].as_str().unwrap_or("none").to_owned())
            .into();
        assert_eq!(states, [good, "failed", "blocked", "blocked"]);
        assert_eq!(told["steps"]["bad"]["detail"], "exit status 3");
    }
    // Where no step was to run yet, there are errors alone.
    world.write("kiln.yaml", "kiln: 1\n");
    let told = document(&world.kiln(&["build", "--json"]).exits(2));
    assert!(told.get("steps").is_none() && told["errors"].is_array(), "{told}");
}
