//! The transcripts of KILN-0108 to 0114: what names and places say about each other.

use super::{accepted, check, check_codes};
use crate::diagnostic::Code;

#[test]
fn unknown_names() {
    check(
        r#"
kiln: 1
name: t
sources: {src: {local: .}}
steps:
  - name: build
    mount: {scr: .}
    environment: rust
    run: make
    outputs: {bin: hello}
  - {name: pack, from: {build.bni: x}, needs: [biuld], run: "true"}
artifacts:
  - {file: biuld.bin}
"#,
        r#"
error[KILN-0108]: step `build` mounts no source: `scr`
  --> kiln.yaml:6:13
   |
 6 |     mount: {scr: .}
   |             ^^^
  expected: src
  got:      scr
help: did you mean `src`?

error[KILN-0108]: step `build` names no environment: `rust`
  --> kiln.yaml:7:18
   |
 7 |     environment: rust
   |                  ^^^^
  expected: default
  got:      rust
help: declare it, or name one that there is

error[KILN-0108]: step `build` has no output `bni`
  --> kiln.yaml:10:25
   |
10 |   - {name: pack, from: {build.bni: x}, needs: [biuld], run: "true"}
   |                         ^^^^^^^^^
  expected: bin
  got:      bni
help: did you mean `bin`?

error[KILN-0108]: step `pack` needs no step: `biuld`
  --> kiln.yaml:10:48
   |
10 |   - {name: pack, from: {build.bni: x}, needs: [biuld], run: "true"}
   |                                                ^^^^^
  expected: one of build, pack
  got:      biuld
help: did you mean `build`?

error[KILN-0108]: an artifact takes from no step: `biuld`
  --> kiln.yaml:12:12
   |
12 |   - {file: biuld.bin}
   |            ^^^^^^^^^
  expected: one of build, pack
  got:      biuld
help: did you mean `build`?
"#,
    );
}

#[test]
fn paths_that_leave() {
    check(
        r#"
kiln: 1
name: t
sources: {src: {local: ../other}}
steps:
  - {name: build, run: make, outputs: {a: /etc/x, b: ../x}}
"#,
        r#"
error[KILN-0109]: `local` of source `src` leaves the build file's directory
  --> kiln.yaml:3:24
   |
 3 | sources: {src: {local: ../other}}
   |                        ^^^^^^^^
  expected: a path below the build file's directory, relative, without `..`
  got:      ../other
help: write it relative to the build file's directory

error[KILN-0109]: the path of output `a` of step `build` leaves /build
  --> kiln.yaml:5:43
   |
 5 |   - {name: build, run: make, outputs: {a: /etc/x, b: ../x}}
   |                                           ^^^^^^
  expected: a path below /build, relative, without `..`
  got:      /etc/x
help: write it relative to /build

error[KILN-0109]: the path of output `b` of step `build` leaves /build
  --> kiln.yaml:5:54
   |
 5 |   - {name: build, run: make, outputs: {a: /etc/x, b: ../x}}
   |                                                      ^^^^
  expected: a path below /build, relative, without `..`
  got:      ../x
help: write it relative to /build
"#,
    );
}

#[test]
fn cycle() {
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: compile, run: x, needs: [link]}
  - {name: generate, run: x, needs: [compile]}
  - {name: link, run: x, needs: [generate]}
"#,
        r#"
error[KILN-0110]: steps wait for each other: compile -> link -> generate -> compile
  --> kiln.yaml:5:38
   |
 5 |   - {name: generate, run: x, needs: [compile]}
   |                                      ^^^^^^^
why: `from`, `needs` and an environment made by a step each wait for another step
help: remove one of these edges, or split a step in two
"#,
    );
}

#[test]
fn cycle_of_one() {
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: build, run: x, outputs: {o: o}, from: {build.o: p}}
"#,
        r#"
error[KILN-0110]: step `build` waits for itself
  --> kiln.yaml:4:51
   |
 4 |   - {name: build, run: x, outputs: {o: o}, from: {build.o: p}}
   |                                                   ^^^^^^^
why: `from`, `needs` and an environment made by a step each wait for another step
help: remove one of these edges, or split a step in two
"#,
    );
}

#[test]
fn cycle_through_a_root() {
    check(
        r#"
kiln: 1
name: t
environment: {step: image.root}
steps:
  - {name: image, run: x, outputs: {root: {path: r, as: root}}}
"#,
        r#"
error[KILN-0110]: step `image` waits for itself
  --> kiln.yaml:3:21
   |
 3 | environment: {step: image.root}
   |                     ^^^^^^^^^^
why: `from`, `needs` and an environment made by a step each wait for another step
help: remove one of these edges, or split a step in two
"#,
    );
}

#[test]
fn placeholders() {
    check(
        r#"
kiln: 1
name: t
matrix: {os: [a]}
steps:
  - name: build
    run: make
    env: {A: "{matrix.oss}", B: "x {version}", C: "${HOME}", D: "}"}
"#,
        r#"
error[KILN-0111]: unknown placeholder `{matrix.oss}`
  --> kiln.yaml:7:15
   |
 7 |     env: {A: "{matrix.oss}", B: "x {version}", C: "${HOME}", D: "}"}
   |               ^^^^^^^^^^^^
  expected: {name}, {version}, {os}, {arch}, {matrix.os}
  got:      {matrix.oss}
help: did you mean `{matrix.os}`?

error[KILN-0111]: `{version}` is used, but there is no `version`
  --> kiln.yaml:7:36
   |
 7 |     env: {A: "{matrix.oss}", B: "x {version}", C: "${HOME}", D: "}"}
   |                                    ^^^^^^^^^
help: add at the top:  version: "0.1.0"

error[KILN-0111]: unknown placeholder `{HOME}`
  --> kiln.yaml:7:53
   |
 7 |     env: {A: "{matrix.oss}", B: "x {version}", C: "${HOME}", D: "}"}
   |                                                     ^^^^^^
  expected: {name}, {version}, {os}, {arch}, {matrix.os}
  got:      {HOME}
help: for literal braces write {{ and }}

error[KILN-0111]: a brace stands alone: `}`
  --> kiln.yaml:7:66
   |
 7 |     env: {A: "{matrix.oss}", B: "x {version}", C: "${HOME}", D: "}"}
   |                                                                  ^
  expected: {name}, {version}, {os}, {arch}, {matrix.os}
  got:      }
help: for literal braces write {{ and }}
"#,
    );
}

#[test]
fn placeholder_not_allowed_here() {
    check(
        r#"
kiln: 1
name: t
matrix: {v: [a]}
sources: {src: {local: "src/{matrix.v}"}}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0111]: placeholder `{matrix.v}` is not allowed here
  --> kiln.yaml:4:29
   |
 4 | sources: {src: {local: "src/{matrix.v}"}}
   |                             ^^^^^^^^^^
  expected: {name} or {version}
  got:      {matrix.v}
why: sources and environments are the same for every platform and combination
help: write the value out
"#,
    );
}

#[test]
fn reserved() {
    check(
        r#"
kiln: 1
name: t
network: true
steps:
  - {name: build, run: make, state: x, outputs: {p: {path: p, as: plan}}}
"#,
        r#"
error[KILN-0112]: key `network` is reserved
  --> kiln.yaml:3:1
   |
 3 | network: true
   | ^^^^^^^
why: a later version of the schema may use it
help: no step has a network: name what it needs under `sources`

error[KILN-0112]: key `state` is reserved
  --> kiln.yaml:5:30
   |
 5 |   - {name: build, run: make, state: x, outputs: {p: {path: p, as: plan}}}
   |                              ^^^^^
why: a later version of the schema may use it
help: remove it

error[KILN-0112]: `as: plan` is reserved
  --> kiln.yaml:5:67
   |
 5 |   - {name: build, run: make, state: x, outputs: {p: {path: p, as: plan}}}
   |                                                                   ^^^^
  expected: one of dir, file, root
why: a later version of the schema may use it
help: write  as: dir
"#,
    );
}

#[test]
fn not_built_yet() {
    check(
        r#"
kiln: 1
name: t
sources:
  font: {url: "https://fonts.example.org/f.tar.xz", sha256: 9f2c41d07be3a6f5c0d8e1724b96a3f85d10c7e2b4f6938a1d5e7c20b8f4a613}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0112]: source `font` is of kind `url`, which this kiln does not build yet
  --> kiln.yaml:4:10
   |
 4 |   font: {url: "https://fonts.example.org/f.tar.xz", sha256: 9f2c41d07be3a6f5c0d8e1724b96a3f85d10c7e2b4f6938a1d5e7c20b8f4a613}
   |          ^^^
  expected: a source of kind `local`
  got:      url
help: use a newer kiln, or another kind
"#,
    );
}

#[test]
fn credential_in_a_url() {
    check(
        r#"
kiln: 1
name: t
sources: {lib: {git: "https://me:hunter2@git.example.org/lib.git", ref: v1, foo: x}}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0112]: source `lib` is of kind `git`, which this kiln does not build yet
  --> kiln.yaml:3:17
  expected: a source of kind `local`
  got:      git
help: use a newer kiln, or another kind

error[KILN-0113]: `git` of source `lib` holds a credential
  --> kiln.yaml:3:22
why: it would stand in logs, the record and the provenance, and others could not rebuild
help: remove it: credentials for fetching stay with the host's own clients, and no step has any
help: if it was ever committed, revoke it

error[KILN-0102]: unknown key `foo` in source `lib`
  --> kiln.yaml:3:77
  expected: one of git, ref, submodules
  got:      foo
help: remove it, or move it to where it belongs
"#,
    );
}

#[test]
fn credential_in_a_variable() {
    check(
        r#"
kiln: 1
name: t
steps:
  - name: build
    run: make
    env:
      DEPLOY_TOKEN: hunter2
"#,
        r#"
error[KILN-0113]: variable `DEPLOY_TOKEN` of step `build` holds a credential
  --> kiln.yaml:7:7
why: it would stand in logs, the record and the provenance, and others could not rebuild
help: remove it: credentials for fetching stay with the host's own clients, and no step has any
help: if it was ever committed, revoke it
"#,
    );
}

#[test]
fn collision_of_mounts() {
    check(
        r#"
kiln: 1
name: t
sources: {a: {local: a}, b: {local: b}}
steps:
  - {name: build, mount: {a: x, b: ./x/}, run: make}
"#,
        r#"
error[KILN-0114]: two things land on /build/x in step `build`
  --> kiln.yaml:5:36
   |
 5 |   - {name: build, mount: {a: x, b: ./x/}, run: make}
   |                                    ^^^^
why: source `a` and source `b` have the same place
help: give one of them a place of its own; nesting is fine
"#,
    );
}

#[test]
fn collision_of_artifacts() {
    check(
        r#"
kiln: 1
name: t
matrix: {features: [minimal, full]}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
artifacts:
  - {file: build.bin, name: greet}
"#,
        r#"
error[KILN-0114]: two files are called `greet`
  --> kiln.yaml:7:5
   |
 7 |   - {file: build.bin, name: greet}
   |     ^
why: artifact `greet` is made more than once
help: put the matrix into `name`, such as {matrix.features}
"#,
    );
}

#[test]
fn collision_of_an_artifact_with_the_evidence_of_another() {
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: build, run: make, outputs: {one: x, two: x.link}}
artifacts:
  - {file: build.one, name: x}
  - {file: build.two, name: x.link}
"#,
        r#"
error[KILN-0114]: two files are called `x.link.sigstore.json`
  --> kiln.yaml:7:5
   |
 7 |   - {file: build.two, name: x.link}
   |     ^
why: one is the evidence of `x`, the other the evidence of `x.link`
help: give one of them another `name`
"#,
    );
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: build, run: make, outputs: {one: x, two: x.link}}
artifacts:
  - {file: build.one, name: x.01234abc.link}
  - {file: build.two, name: x}
"#,
        r#"
error[KILN-0114]: two files may be called `x.01234abc.link`
  --> kiln.yaml:6:5
   |
 6 |   - {file: build.one, name: x.01234abc.link}
   |     ^
why: one is an artifact, the other the link of `x` by a key
help: give one of them another `name`
"#,
    );
}

/// Whichever of the two stands first, and whatever the other's evidence is.
#[test]
fn no_artifact_has_the_name_of_what_kiln_writes() {
    let text = |one: &str, two: &str| {
        format!(
            "kiln: 1\nname: t\nsteps:\n  - {{name: build, run: make, outputs: {{one: a, two: b}}}}\n\
             artifacts:\n  - {{file: build.one, name: {one}}}\n  - {{file: build.two, name: {two}}}\n"
        )
    };
    let taken = [
        "x.sigstore.json",
        "x.intoto.jsonl",
        "x.dependencies.json",
        "x.test-result",
        "x.test-result.sigstore.json",
        "x.scai",
        "x.link",
        "x.runtime-trace",
        "x.deadbeef.link",
        "SHA256SUMS",
        "t.inputs",
    ];
    for name in taken {
        for (one, two) in [("x", name), (name, "x")] {
            check_codes(&text(one, two), &[Code::Collision]);
        }
    }
    for name in ["y.link", "x.links", "x.DEADBEEF.link", "x.deadbee.link", "x.inputs", "x.json"] {
        accepted(&text("x", name));
    }
}
