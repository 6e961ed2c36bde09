//! Every example works as its README says. Their environments are the host's, so instead of a fixed
//! digest they assert that root and another user, in different folders, build the same bytes.

use std::fs;
use std::path::Path;

use crate::support::{Who, World};

fn copy(world: &World, example: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example);
    for entry in fs::read_dir(&folder).expect("the example is there") {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        world.write(&name, &fs::read_to_string(&path).expect("it is text"));
    }
}

#[test]
fn hello_builds_the_same_for_everybody_and_says_hello() {
    let mut built: Vec<Vec<u8>> = Vec::new();
    for who in Who::all() {
        let world = World::warm(who);
        copy(&world, "hello");
        world.commit();
        world.key();
        world.kiln(&["build", "--locked", "--sign"]).exits(0);
        world.kiln(&["verify", "kiln-out/hello"]).exits(0);
        let said = world.run(&["kiln-out/hello"], &[]).exits(0);
        assert_eq!(said.stdout, "hello from a sealed build\n");
        assert_eq!(world.git(&["status", "--porcelain", "--", ".", ":!kiln-out"]), "");
        built.push(fs::read(world.path("project/kiln-out/hello")).expect("it was built"));
        // The exercise of its README: what is not named is not there.
        let file = world.read("kiln.yaml").replace(", make]", "]");
        world.write("kiln.yaml", &file);
        world.kiln(&["lock"]).exits(0);
        let ran = world.kiln(&["build", "--no-sign"]).exits(1);
        assert!(ran.says("KILN-0401") && ran.says("make"), "{}", ran.stderr);
    }
    built.dedup();
    assert_eq!(built.len(), 1, "the bytes differ");
}
