//! The transcripts of KILN-0102 to 0107: keys, types, values and kinds.

use super::check;

#[test]
fn unknown_key() {
    check(
        r#"
kiln: 1
name: hello
environment:
  host: {packages: [gcc, libc6-dev, make]}
steps:
  - name: build
    run: make
    output: {hello: hello}
artifacts: []
"#,
        r#"
error[KILN-0102]: unknown key `output` in step `build`
  --> kiln.yaml:8:5
   |
 8 |     output: {hello: hello}
   |     ^^^^^^
  expected: one of abi32, cpus, env, environment, fakeroot, from, mount, name, needs, nested, outputs,
            resources, run, shell, timeout
  got:      output
help: did you mean `outputs`?
"#,
    );
}

#[test]
fn unknown_key_of_another_tool() {
    check(
        r#"
kiln: 1
name: t
steps:
  - name: build
    script: make
    run: make
    network: true
"#,
        r#"
error[KILN-0102]: unknown key `script` in step `build`
  --> kiln.yaml:5:5
   |
 5 |     script: make
   |     ^^^^^^
  expected: one of abi32, cpus, env, environment, fakeroot, from, mount, name, needs, nested, outputs,
            resources, run, shell, timeout
  got:      script
help: did you mean `run`?

error[KILN-0102]: unknown key `network` in step `build`
  --> kiln.yaml:7:5
   |
 7 |     network: true
   |     ^^^^^^^
  expected: one of abi32, cpus, env, environment, fakeroot, from, mount, name, needs, nested, outputs,
            resources, run, shell, timeout
  got:      network
help: no step has a network: name what it needs under `sources`
"#,
    );
}

#[test]
fn unknown_key_outputs_of_a_test() {
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: build, run: make, outputs: {bin: hello}}
tests:
  - {name: unit, run: make check, outputs: {log: log}}
"#,
        r#"
error[KILN-0102]: unknown key `outputs` in test `unit`
  --> kiln.yaml:6:35
   |
 6 |   - {name: unit, run: make check, outputs: {log: log}}
   |                                   ^^^^^^^
  expected: one of abi32, cpus, env, environment, fakeroot, from, mount, name, needs, nested, reports,
            resources, run, shell, timeout
  got:      outputs
help: a test ships nothing; what shall leave the sandbox is made by a step
"#,
    );
}

#[test]
fn missing_keys() {
    check(
        r#"
version: "1"
"#,
        r#"
error[KILN-0103]: the build file has no `kiln`
  --> kiln.yaml:1:1
   |
 1 | version: "1"
   | ^^^^^^^
help: add at the top:  kiln: 1

error[KILN-0103]: the build file has no `name`
  --> kiln.yaml:1:1
   |
 1 | version: "1"
   | ^^^^^^^
help: name the project:  name: hello

error[KILN-0103]: the build file has no `steps`
  --> kiln.yaml:1:1
   |
 1 | version: "1"
   | ^^^^^^^
help: say what to do:  steps: [{name: build, run: make, outputs: {hello: hello}}]
"#,
    );
}

#[test]
fn missing_mount() {
    check(
        r#"
kiln: 1
name: t
sources: {src: {local: .}, lib: {local: lib}}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0103]: step `build` has no `mount`
  --> kiln.yaml:5:6
   |
 5 |   - {name: build, run: make, outputs: {bin: hello}}
   |      ^^^^
why: there are 2 sources, so it must be said which lie where
help: say it:  mount: {lib: lib, src: .}
help: or mount none:  mount: {}
"#,
    );
}

#[test]
fn wrong_type_version() {
    check(
        r#"
kiln: 1
name: t
version: 1.10
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0104]: `version` has the wrong type
  --> kiln.yaml:3:10
   |
 3 | version: 1.10
   |          ^^^^
  expected: a string
  got:      a number: 1.10
help: quote it:  "1.10"
"#,
    );
}

#[test]
fn wrong_type_list_and_env() {
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: build, run: make, needs: other, env: {JOBS: 4}}
"#,
        r#"
error[KILN-0104]: `needs` of step `build` has the wrong type
  --> kiln.yaml:4:37
   |
 4 |   - {name: build, run: make, needs: other, env: {JOBS: 4}}
   |                                     ^^^^^
  expected: a list
  got:      a string: other
help: put it in brackets:  [other]

error[KILN-0104]: variable `JOBS` of step `build` has the wrong type
  --> kiln.yaml:4:56
   |
 4 |   - {name: build, run: make, needs: other, env: {JOBS: 4}}
   |                                                        ^
  expected: a string
  got:      an integer: 4
help: quote it:  "4"
"#,
    );
}

#[test]
fn wrong_type_folder_as_file() {
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: build, run: make, outputs: {dist: dist/}}
artifacts:
  - {file: build.dist}
"#,
        r#"
error[KILN-0104]: output `build.dist` is a folder
  --> kiln.yaml:6:12
   |
 6 |   - {file: build.dist}
   |            ^^^^^^^^^^
  expected: an output with `as: file`
  got:      an output with `as: dir`
help: pack it:  {archive: [build.dist], name: "dist.tar.gz"}
"#,
    );
}

#[test]
fn wrong_value_schema() {
    check(
        r#"
kiln: 2
name: t
foo: bar
"#,
        r#"
error[KILN-0105]: the build file has a schema that this kiln does not know
  --> kiln.yaml:1:7
   |
 1 | kiln: 2
   |       ^
  expected: 1
  got:      2
help: write  kiln: 1, or use a newer kiln
"#,
    );
}

#[test]
fn wrong_value_amounts() {
    check(
        r#"
kiln: 1
name: t
steps:
  - name: build
    run: make
    timeout: 10
    resources: {memory: 1Q, cpu: 0}
"#,
        r#"
error[KILN-0105]: `timeout` of step `build` is not allowed
  --> kiln.yaml:6:14
   |
 6 |     timeout: 10
   |              ^^
  expected: a time such as 90s, 20m or 2h, at most 24h
  got:      10
help: what is allowed, with an example:  kiln explain KILN-0105

error[KILN-0105]: `memory` of `resources` of step `build` is not allowed
  --> kiln.yaml:7:25
   |
 7 |     resources: {memory: 1Q, cpu: 0}
   |                         ^^
  expected: a size such as 512Mi or 4Gi
  got:      1Q
help: what is allowed, with an example:  kiln explain KILN-0105

error[KILN-0105]: `cpu` of `resources` of step `build` is not allowed
  --> kiln.yaml:7:34
   |
 7 |     resources: {memory: 1Q, cpu: 0}
   |                                  ^
  expected: a number above 0 and at most 8192, such as 4 or 1.5
  got:      0
help: what is allowed, with an example:  kiln explain KILN-0105
"#,
    );
}

#[test]
fn wrong_value_name() {
    check(
        r#"
kiln: 1
name: Hello World
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0105]: `name` is no identifier
  --> kiln.yaml:2:7
   |
 2 | name: Hello World
   |       ^^^^^^^^^^^
  expected: a lower-case letter, then at most 62 of a-z, 0-9 and -
  got:      "Hello World"
help: for example:  hello-world
"#,
    );
}

#[test]
fn wrong_value_not_a_root() {
    check(
        r#"
kiln: 1
name: t
environments: {made: {step: build.bin}}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0105]: output `build.bin` is not a root
  --> kiln.yaml:3:29
   |
 3 | environments: {made: {step: build.bin}}
   |                             ^^^^^^^^^
  expected: an output with `as: root`
  got:      an output with `as: file`
help: in step `build`:  outputs: {bin: {path: PATH, as: root}}
"#,
    );
}

#[test]
fn duplicate_key() {
    check(
        r#"
kiln: 1
name: t
name: u
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0106]: key `name` is given twice
  --> kiln.yaml:3:1
   |
 3 | name: u
   | ^^^^
help: keep one of the two
"#,
    );
}

#[test]
fn duplicate_step() {
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: build, run: make, outputs: {bin: hello}}
tests:
  - {name: build, run: make check}
"#,
        r#"
error[KILN-0106]: two steps are called `build`
  --> kiln.yaml:6:12
   |
 6 |   - {name: build, run: make check}
   |            ^^^^^
why: the first stands in line 4; names are unique over steps and tests
help: give one of them another name
"#,
    );
}

#[test]
fn duplicate_default() {
    check(
        r#"
kiln: 1
name: t
environments:
  default: {host: {}}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0106]: environment `default` is there already
  --> kiln.yaml:4:3
   |
 4 |   default: {host: {}}
   |   ^^^^^^^
why: `default` is the name of the one under `environment`
help: write it under `environment`, or give it another name
"#,
    );
}

#[test]
fn duplicate_variable_of_kiln() {
    check(
        r#"
kiln: 1
name: t
sources: {crates: {lockfile: Cargo.lock}}
steps:
  - name: build
    run: cargo build
    env: {CARGO_HOME: /tmp}
"#,
        r#"
error[KILN-0112]: source `crates` is of kind `lockfile`, which this kiln does not build yet
  --> kiln.yaml:3:20
   |
 3 | sources: {crates: {lockfile: Cargo.lock}}
   |                    ^^^^^^^^
  expected: a source of kind `local`
  got:      lockfile
help: use a newer kiln, or another kind

error[KILN-0106]: variable `CARGO_HOME` of step `build` is set by kiln
  --> kiln.yaml:7:11
   |
 7 |     env: {CARGO_HOME: /tmp}
   |           ^^^^^^^^^^
why: source `crates` is a lock file, whose client it points at its files
help: remove it
"#,
    );
}

#[test]
fn no_kind() {
    check(
        r#"
kiln: 1
name: t
sources:
  src: {locl: .}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0107]: source `src` has no kind
  --> kiln.yaml:4:9
   |
 4 |   src: {locl: .}
   |         ^^^^
  expected: one of deb, git, local, lockfile, oci, url
help: did you mean `local`?
"#,
    );
}

#[test]
fn two_kinds() {
    check(
        r#"
kiln: 1
name: t
environment: {host: {}, oci: "registry.example.org/a:1"}
steps:
  - {name: build, run: make, outputs: {bin: hello}}
"#,
        r#"
error[KILN-0107]: `environment` has 2 kinds: `host` and `oci`
  --> kiln.yaml:3:25
   |
 3 | environment: {host: {}, oci: "registry.example.org/a:1"}
   |                         ^^^
  expected: exactly one of deb, host, oci, rootfs, step
help: keep one, and give the other a name of its own
"#,
    );
}
