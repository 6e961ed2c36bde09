//! What accepted build files mean: defaults, places, the matrix, and the examples of the reference.

use model::limits::{Bytes, Count, Limit, Limits, MilliCpus, Millis, TIMEOUT_DEFAULT};
use model::step::{OutputKind, Run, Widen};
use model::{AbsPath, RelPath, T0_SECONDS};

use super::super::{
    ArchiveFormat, ArtifactInstanceKind, EnvironmentKind, Epoch, FileMode, InstanceRole, SourceKind,
};
use super::*;

/// Example B of the reference: a Rust crate with its Cargo.lock, two feature sets, a test.
const GREET: &str = r#"
kiln: 1
name: greet
version: "0.3.0"
sources:
  src:    {local: .}
  crates: {lockfile: Cargo.lock}
environment:
  oci: registry.example.org/toolchains/rust:1.90
matrix: {features: [minimal, full]}
steps:
  - name: build
    mount: {src: ., crates: .crates}
    env: {FEATURES: "{matrix.features}"}
    run: cargo build --release --locked --no-default-features --features "$FEATURES"
    outputs: {bin: target/release/greet}
    resources: {cpu: 4, memory: 4Gi}
    timeout: 15m
tests:
  - {name: unit, mount: {src: ., crates: .crates}, run: cargo test --locked}
  - {name: smoke, from: {build.bin: greet}, run: ./greet --version}
artifacts:
  - {archive: [build.bin], name: "greet-{version}-{matrix.features}-{os}-{arch}.tar.gz"}
"#;

/// Example C: a web front end (npm) inside a Rust server, several steps.
const SHOP: &str = r#"
kiln: 1
name: shop
version: "2.1.0"
sources:
  src:    {local: ., exclude: [node_modules/, target/]}
  npm:    {lockfile: web/package-lock.json}
  crates: {lockfile: server/Cargo.lock}
  zones:  {deb: [tzdata], suite: trixie}
environments:
  node: {oci: "registry.example.org/toolchains/node:22"}
  rust:
    deb:
      packages: [cargo, rustc, gcc, libc6-dev]
      suite: trixie
  bare: {rootfs: {file: ci/bare.tar.zst}}
steps:
  - name: web
    environment: node
    mount: {src: ., npm: .npm-tarballs}
    env: {CHANNEL: stable}
    run: |
      cd web
      npm ci --ignore-scripts
      npm run build
    outputs: {dist: web/dist/}
  - name: server
    environment: rust
    mount: {src: ., crates: .crates, zones: zones}
    from: {web.dist: server/assets}      # data edge, so `web` runs first
    run: cd server && cargo build --release --locked
    outputs: {bin: server/target/release/shop}
    timeout: 30m
tests:
  - {name: unit, environment: rust, mount: {src: ., crates: .crates, zones: zones}, run: cd server && cargo test --locked}
  - {name: boot, environment: bare, from: {server.bin: /opt/shop}, run: /opt/shop --self-check}
artifacts:
  - {file: server.bin, name: "shop-{version}-{os}-{arch}", mode: "0755"}
  - {archive: [web.dist], name: "shop-web-{version}.tar.gz"}
"#;

fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

#[test]
fn the_hello_example_has_the_defaults() {
    let manifest = accepted(HELLO);
    assert_eq!(manifest.source_date_epoch, Epoch::Seconds(T0_SECONDS));
    assert_eq!(manifest.sources.len(), 1);
    let SourceKind::Local { path, exclude } = &manifest.sources[0].kind;
    assert!(path.value.is_here() && exclude.is_empty());
    let EnvironmentKind::Host(host) = &manifest.environments[0].kind else { panic!("not a host") };
    assert_eq!(host.packages.len(), 3);
    assert!(host.paths.is_empty() && !host.pin);
    let expanded = expanded(HELLO);
    let [instance] = expanded.instances.as_slice() else { panic!("not one step") };
    assert_eq!(instance.id.to_string(), "build");
    assert_eq!(instance.environment.as_str(), "default");
    assert_eq!(instance.root, None);
    assert_eq!(instance.mounts.len(), 1);
    assert_eq!((instance.mounts[0].source.as_str(), &instance.mounts[0].path), ("src", &rel(".")));
    let shell = vec!["/bin/sh".to_owned(), "-eu".to_owned()];
    assert_eq!(instance.run, Run::Script { shell, text: "make".to_owned() });
    assert_eq!((instance.limits, instance.timeout), (Limits::default(), TIMEOUT_DEFAULT));
    assert_eq!((instance.cpus, instance.widen), (None, Widen::default()));
    assert_eq!(instance.role, InstanceRole::Step);
    assert_eq!(expanded.artifacts[0].name.as_str(), "hello");
}

#[test]
fn the_other_examples_are_refused_only_for_kinds_that_are_not_built_yet() {
    for (text, count) in [(GREET, 2), (SHOP, 6)] {
        let found = refused(text);
        assert!(found.iter().all(|one| one.code == Code::Reserved), "{found:#?}");
        assert!(found.iter().all(|one| one.headline.ends_with("does not build yet")));
        assert_eq!(found.len(), count);
    }
}

#[test]
fn the_other_examples_mean_what_they_say_with_kinds_that_are_built() {
    let greet = GREET
        .replace("crates: {lockfile: Cargo.lock}", "crates: {local: vendor}")
        .replace("oci: registry.example.org/toolchains/rust:1.90", "host: {}");
    let expanded = super::expanded(&greet);
    let ids: Vec<String> = expanded.instances.iter().map(|one| one.id.to_string()).collect();
    assert_eq!(
        ids,
        [
            "build[features=minimal]",
            "build[features=full]",
            "unit[features=minimal]",
            "unit[features=full]",
            "smoke[features=minimal]",
            "smoke[features=full]",
        ]
    );
    let build = &expanded.instances[1];
    assert_eq!(build.env["FEATURES"], "full");
    assert_eq!(build.limits.cpu, Some(Limit::asked(MilliCpus(4000))));
    assert_eq!(build.limits.memory, Some(Limit::asked(Bytes(4 << 30))));
    assert_eq!(build.timeout, Millis(15 * 60 * 1000));
    let smoke = &expanded.instances[5];
    assert!(smoke.mounts.is_empty(), "a test that takes outputs mounts nothing by itself");
    assert_eq!(smoke.from[0].output.step.to_string(), "build[features=full]");
    assert_eq!(smoke.from[0].path.to_string(), "/build/greet");
    let arch = Platform::HERE.arch;
    let names: Vec<&str> = expanded.artifacts.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [
            format!("greet-0.3.0-minimal-linux-{arch}.tar.gz"),
            format!("greet-0.3.0-full-linux-{arch}.tar.gz"),
        ]
    );
    let ArtifactInstanceKind::Archive { format, prefix, members } = &expanded.artifacts[0].kind
    else {
        panic!("no archive")
    };
    assert_eq!(*format, ArchiveFormat::TarGz);
    assert_eq!(*prefix, rel(&format!("greet-0.3.0-minimal-linux-{arch}")));
    assert_eq!(members.len(), 1);
}

#[test]
fn every_key_of_a_step_is_read() {
    let text = "\
kiln: 1
name: t
version: \"1.2\"
source-date-epoch: 1700000000
sources: {src: {local: ., exclude: [\"*.o\"]}, lib: {local: lib}}
environments:
  made: {step: image.root, env: {A: env, B: \"{name}\"}}
  tools:
    host:
      packages: [gcc]
      paths: [/opt/a, {from: /home/me/.tools/x, at: /opt/x, path-prefix: true}]
      pin: true
steps:
  - {name: image, mount: {}, run: [mkroot, \"{name}\"], outputs: {root: {path: r, as: root}}}
  - name: build
    environment: made
    mount: {src: ., lib: vendor/lib}
    from: {image.root: /opt/root}
    needs: [image]
    env: {A: step, C: \"{{}}{version}-{os}\"}
    run: |
      make
    shell: [/bin/bash, -e]
    outputs: {dir: out/, file: {path: x, as: file}}
    resources: {cpu: 1.5, memory: 512Mi, disk: 1Gi, pids: 10, files: 20, log: 1Mi, idle: 5m}
    cpus: 2
    nested: true
    abi32: true
    timeout: 24h
tests:
  - {name: unit, mount: {src: .}, run: \"true\", reports: {junit: out/junit.xml}}
artifacts:
  - {file: build.file, name: \"x-{version}\", mode: \"0644\"}
  - {archive: [build.dir, build.file], name: all.tar.zst, prefix: a/b}
";
    let manifest = accepted(text);
    assert_eq!(manifest.source_date_epoch, Epoch::Seconds(1_700_000_000));
    let tools =
        manifest.environments.iter().find(|one| one.name.value.as_str() == "tools").unwrap();
    let EnvironmentKind::Host(host) = &tools.kind else { panic!("no host") };
    assert!(host.pin && host.paths[1].value.path_prefix);
    assert_eq!(host.paths[1].value.place(), &AbsPath::new("/opt/x").unwrap());
    let expanded = expand(&manifest, Platform::HERE).unwrap();
    let build = &expanded.instances[1];
    assert_eq!(build.root.as_ref().unwrap().output.as_str(), "root");
    assert_eq!(build.from[0].path.to_string(), "/opt/root");
    assert_eq!(build.needs[0].to_string(), "image");
    let env: Vec<(&str, &str)> = build.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("A", "step"), ("B", "t"), ("C", "{}1.2-linux")]);
    let shell = vec!["/bin/bash".to_owned(), "-e".to_owned()];
    assert_eq!(build.run, Run::Script { shell, text: "make\n".to_owned() });
    let kinds: Vec<OutputKind> = build.outputs.values().map(|output| output.kind).collect();
    assert_eq!(kinds, [OutputKind::Dir, OutputKind::File]);
    assert_eq!(build.limits.idle, Some(Limit::asked(Millis(300_000))));
    assert_eq!(build.limits.pids, Limit::asked(Count(10)));
    assert_eq!(build.cpus.unwrap().get(), 2);
    assert_eq!(build.widen, Widen { nested: true, fakeroot: false, abi32: true });
    let image = &expanded.instances[0];
    assert_eq!(image.run, Run::Argv(vec!["mkroot".to_owned(), "{name}".to_owned()]));
    assert!(image.mounts.is_empty());
    let InstanceRole::Test { reports } = &expanded.instances[2].role else { panic!("no test") };
    assert_eq!(reports.values().next(), Some(&rel("out/junit.xml")));
    let ArtifactInstanceKind::File { mode, .. } = expanded.artifacts[0].kind else {
        panic!("no file")
    };
    assert_eq!(mode, Some(FileMode::Plain));
}

#[test]
fn exclude_takes_combinations_away_and_ids_do_not_depend_on_the_order_of_axes() {
    let text = |matrix: &str| format!("{}matrix: {matrix}\n", step(""));
    let ids = |matrix: &str| -> Vec<String> {
        super::expanded(&text(matrix)).instances.iter().map(|one| one.id.to_string()).collect()
    };
    let all = [
        "build[axis=a,other=c]",
        "build[axis=a,other=d]",
        "build[axis=b,other=c]",
        "build[axis=b,other=d]",
    ];
    assert_eq!(ids("{axis: [a, b], other: [c, d]}"), all);
    assert_eq!(ids("{other: [c, d], axis: [a, b]}"), all);
    assert_eq!(
        ids("{axis: [a, b], other: [c, d], exclude: [{axis: a, other: d}, {axis: b}]}"),
        ["build[axis=a,other=c]"]
    );
    for (matrix, code) in [
        ("{axis: []}", Code::WrongValue),
        ("{axis: [1]}", Code::WrongType),
        ("{axis: [a, a]}", Code::Duplicate),
        ("{axis: [\"\"]}", Code::WrongValue),
        ("{axis: [a], exclude: [{axis: a}]}", Code::WrongValue),
        ("{axis: [a], exclude: [{oxis: a}]}", Code::UnknownName),
        ("{axis: [a], exclude: [{axis: b}]}", Code::UnknownName),
        ("{axis: [a], exclude: [{}]}", Code::WrongValue),
        ("[a]", Code::WrongType),
    ] {
        check_codes(&text(matrix), &[code]);
    }
}

#[test]
fn places_nest_and_never_meet() {
    let with = |lines: &str| {
        format!(
            "kiln: 1\nname: t\nsources: {{a: {{local: a}}, b: {{local: b}}}}\nsteps:\n\
             \x20 - {{name: one, mount: {{}}, run: x, outputs: {{o: o, p: p}}}}\n\
             \x20 - {{name: two, run: x, {lines}}}\n"
        )
    };
    expanded(&with("mount: {a: ., b: sub/b}, from: {one.o: sub, one.p: /opt/p}"));
    for lines in [
        "mount: {a: ., b: ./}",
        "mount: {a: x}, from: {one.o: x}",
        "mount: {a: x}, from: {one.o: /build/x}",
        "mount: {}, from: {one.o: x, one.p: x}",
        "mount: {}, from: {one.o: /}",
        "mount: {}, from: {one.o: /proc/x}",
        "mount: {}, from: {one.o: /kiln/script}",
    ] {
        check_codes(&with(lines), &[Code::Collision]);
    }
    for lines in
        ["mount: {a: /x, b: .}", "mount: {a: ../x, b: .}", "mount: {}, from: {one.o: ../x}"]
    {
        check_codes(&with(lines), &[Code::PathLeaves]);
    }
}

#[test]
fn names_of_artifacts_are_file_names_that_nothing_else_has() {
    let with = |artifacts: &str| {
        format!("{}    outputs: {{o: o, odd: 'a\\b', d: d/}}\nartifacts: [{artifacts}]\n", step(""))
    };
    expanded(&with("{file: build.o}, {file: build.o, name: p}"));
    for (artifacts, code) in [
        ("{file: build.o}, {file: build.o}", Code::Collision),
        ("{file: build.o, name: x}, {file: build.o, name: x.sigstore.json}", Code::Collision),
        ("{file: build.o, name: SHA256SUMS}", Code::Collision),
        ("{file: build.o, name: t.inputs}", Code::Collision),
        ("{file: build.o, name: a/b}", Code::WrongValue),
        ("{file: build.o, name: \"..\"}", Code::WrongValue),
        ("{file: build.o, name: \"\"}", Code::WrongValue),
        ("{file: build.o, name: \"a\\nb\"}", Code::WrongValue),
        ("{file: build.o, name: 'a\\b'}", Code::WrongValue),
        ("{file: build.o, name: \"a\\u202Eb\"}", Code::WrongValue),
        ("{file: build.o, name: \" a\"}", Code::WrongValue),
        ("{file: build.odd}", Code::WrongValue),
        ("{file: build.o, mode: \"0777\"}", Code::WrongValue),
        ("{file: build.o, mode: 0755}", Code::WrongType),
        ("{file: build}", Code::WrongValue),
        ("{file: build.d}", Code::WrongType),
        ("{archive: [build.d]}", Code::MissingKey),
        ("{archive: [], name: x.tar}", Code::WrongValue),
        ("{archive: [build.d, build.d], name: x.tar}", Code::Duplicate),
        ("{archive: [build.d], name: x.zip}", Code::WrongValue),
        ("{archive: [build.d], name: .tar}", Code::WrongValue),
        ("{archive: [build.d], name: x.tar, prefix: ../x}", Code::PathLeaves),
        ("{oci-image: [build.d]}", Code::Reserved),
        ("{file: build.o, archive: [build.o], name: x.tar}", Code::NotOneKind),
        ("{}", Code::NotOneKind),
    ] {
        check_codes(&with(artifacts), &[code]);
    }
}

#[test]
fn what_runs_is_a_script_or_a_program() {
    let with = |run: &str| format!("kiln: 1\nname: t\nsteps: [{{name: a, {run}}}]\n");
    for (run, code) in [
        ("run: \"\"", Code::WrongValue),
        ("run: \" \"", Code::WrongValue),
        ("run: \"a\\0b\"", Code::WrongValue),
        ("run: []", Code::WrongValue),
        ("run: [\"\", x]", Code::WrongValue),
        ("run: [x, 1]", Code::WrongType),
        ("run: true", Code::WrongType),
        ("run: [x], shell: [/bin/sh]", Code::WrongValue),
        ("run: x, shell: []", Code::WrongValue),
        ("run: x, shell: /bin/sh", Code::WrongType),
    ] {
        check_codes(&with(run), &[code]);
    }
    let expanded = expanded(&with("run: \"echo {version} ${HOME}\""));
    let Run::Script { text, .. } = &expanded.instances[0].run else { panic!("no script") };
    assert_eq!(text, "echo {version} ${HOME}", "nothing is put into a script");
}

#[test]
fn json_schema_and_examples_agree_on_the_top_level_keys() {
    let schema: serde_json::Value = serde_json::from_str(super::super::schema::BUILD_FILE).unwrap();
    for text in [HELLO, GREET, SHOP] {
        let keys = text
            .lines()
            .filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()));
        for key in keys.filter_map(|line| line.split(':').next()) {
            assert!(schema["properties"].get(key).is_some(), "{key}");
        }
    }
}
