//! The build file that says the same as a `kiln run` command: the road from a habit to a file.
//!
//! What it prints is read by [`parse`](super::parse()) into the very step that `kiln run` runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fetch::host::AskedPackage;
use model::{Ident, RelPath};

use super::environment::EnvName;
use super::placeholder::escape_braces;
use super::yaml;

/// What a `kiln run` command asks for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// The project's name.
    pub name: Ident,
    /// Files and folders that go in, each at its own path below `/build`.
    pub inputs: Vec<RelPath>,
    /// What comes out.
    pub outputs: Vec<RunOutput>,
    /// Packages of the host, with the one that owns the command.
    pub packages: Vec<AskedPackage>,
    /// Variables.
    pub env: BTreeMap<EnvName, String>,
    /// The command; not empty, without NUL.
    pub argv: Vec<String>,
}

/// One `--output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutput {
    /// Where it lies below `/build`.
    pub path: RelPath,
    /// Whether it is a folder, which is handed over as a tar.
    pub folder: bool,
}

/// The one step of such a build file.
pub const RUN_STEP: &str = "run";

/// Returns the text of the build file.
pub fn render_run(request: &RunRequest) -> String {
    let mut out = format!("kiln: 1\nname: {}\n", request.name);
    match request.inputs.as_slice() {
        [] => out.push_str("sources: {}\n"),
        inputs => {
            out.push_str("sources:\n");
            for (index, path) in inputs.iter().enumerate() {
                let _ = writeln!(out, "  input-{}: {{local: {}}}", index + 1, path_text(path));
            }
        }
    }
    let packages: Vec<String> = request.packages.iter().map(ToString::to_string).collect();
    let packages = yaml::list(packages.iter().map(String::as_str));
    let _ = writeln!(out, "environment:\n  host: {{packages: {packages}}}");
    let _ = writeln!(out, "steps:\n  - name: {RUN_STEP}");
    if !request.inputs.is_empty() {
        out.push_str("    mount:\n");
        for (index, path) in request.inputs.iter().enumerate() {
            let _ = writeln!(out, "      input-{}: {}", index + 1, path_text(path));
        }
    }
    if !request.env.is_empty() {
        out.push_str("    env:\n");
        for (name, value) in &request.env {
            let (name, value) = (yaml::string(name.as_str()), yaml::string(&escape_braces(value)));
            let _ = writeln!(out, "      {name}: {value}");
        }
    }
    let _ = writeln!(out, "    run: {}", yaml::list(request.argv.iter().map(String::as_str)));
    if request.outputs.is_empty() {
        return out;
    }
    out.push_str("    outputs:\n");
    for (index, output) in request.outputs.iter().enumerate() {
        let slash = if output.folder { "/" } else { "" };
        let path = yaml::string(&escape_braces(&format!("{}{slash}", output.path)));
        let _ = writeln!(out, "      output-{}: {path}", index + 1);
    }
    out.push_str("artifacts:\n");
    for (index, output) in request.outputs.iter().enumerate() {
        let reference = format!("{RUN_STEP}.output-{}", index + 1);
        let _ = match output.path.split_last() {
            Some((_, name)) if output.folder => {
                let name = yaml::string(&escape_braces(&format!("{name}.tar")));
                writeln!(out, "  - {{archive: [{reference}], name: {name}}}")
            }
            Some(_) | None => writeln!(out, "  - {{file: {reference}}}"),
        };
    }
    out
}

fn path_text(path: &RelPath) -> String {
    yaml::string(&escape_braces(&path.to_string()))
}

#[cfg(test)]
mod tests {
    use model::platform::Platform;
    use model::step::Run;
    use proptest::prelude::*;

    use super::super::{Expanded, expand, parse};
    use super::*;

    fn request(
        inputs: &[&str],
        outputs: &[&str],
        env: &[(&str, &str)],
        argv: &[&str],
    ) -> RunRequest {
        RunRequest {
            name: Ident::new("hello").unwrap(),
            inputs: inputs.iter().map(|path| RelPath::new(path).unwrap()).collect(),
            outputs: outputs
                .iter()
                .map(|path| RunOutput {
                    path: RelPath::new(path).unwrap(),
                    folder: path.ends_with('/'),
                })
                .collect(),
            packages: vec![AskedPackage::new("make").unwrap(), AskedPackage::new("g++").unwrap()],
            env: env.iter().map(|(k, v)| (EnvName::new(k).unwrap(), (*v).to_owned())).collect(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    fn read_back(request: &RunRequest) -> Expanded {
        let text = render_run(request);
        let manifest = parse(text.as_bytes(), "kiln.yaml")
            .unwrap_or_else(|found| panic!("{text}\n{found:#?}"));
        expand(&manifest, Platform::HERE).unwrap()
    }

    #[test]
    fn a_command_prints_as_a_build_file() {
        let request =
            request(&["src"], &["src/hello", "out/"], &[("V", "{1}")], &["make", "-C", "src"]);
        assert_eq!(
            render_run(&request),
            "\
kiln: 1
name: hello
sources:
  input-1: {local: src}
environment:
  host: {packages: [make, g++]}
steps:
  - name: run
    mount:
      input-1: src
    env:
      V: \"{{1}}\"
    run: [make, \"-C\", src]
    outputs:
      output-1: src/hello
      output-2: out/
artifacts:
  - {file: run.output-1}
  - {archive: [run.output-2], name: out.tar}
"
        );
        let expanded = read_back(&request);
        assert_eq!(expanded.instances.len(), 1);
        assert_eq!(expanded.artifacts.len(), 2);
        assert_eq!(expanded.instances[0].env["V"], "{1}");
        assert_eq!(expanded.instances[0].mounts[0].path, RelPath::new("src").unwrap());
    }

    #[test]
    fn nothing_asked_for_is_nothing_given() {
        let expanded = read_back(&request(&[], &[], &[], &["true"]));
        assert!(expanded.instances[0].mounts.is_empty());
        assert!(expanded.instances[0].outputs.is_empty());
        assert!(expanded.artifacts.is_empty());
    }

    proptest! {
        #[test]
        fn every_word_and_value_reads_back_as_it_was(
            words in prop::collection::vec("[^\0]{0,12}", 0..4),
            value in "[^\0]{0,12}",
            odd in prop::sample::select(vec!["1.10", "true", "~", "- a", "a: b", "#x", "{{", "\u{2028}", "\u{85}", "'", "no"]),
        ) {
            let mut argv = vec!["prog", odd];
            argv.extend(words.iter().map(String::as_str));
            let expanded = read_back(&request(&["."], &["o"], &[("V", &value), ("W", odd)], &argv));
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            prop_assert_eq!(&expanded.instances[0].run, &Run::Argv(argv));
            prop_assert_eq!(&expanded.instances[0].env["V"], &value);
            prop_assert_eq!(&expanded.instances[0].env["W"], odd);
        }
    }
}
