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
use crate::diagnostic::Span;

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

/// Which part of a command a piece of the build file says, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunPart {
    /// An input.
    Input(usize),
    /// An output.
    Output(usize),
    /// A package.
    Package(AskedPackage),
    /// A variable.
    Variable(EnvName),
    /// The command.
    Command,
}

/// A build file, and which part of the command each piece of it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Its pieces, in the order of the text.
    pub parts: Vec<(Span, RunPart)>,
}

impl Rendered {
    /// Adds a line that says a part of the command.
    fn line(&mut self, part: RunPart, line: &str) {
        let start = self.text.len();
        let _ = writeln!(self.text, "{line}");
        self.parts.push((Span::new(start, self.text.len()), part));
    }

    /// Adds text that no part of the command says.
    fn plain(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

/// Returns the build file.
pub fn render_run(request: &RunRequest) -> Rendered {
    let mut out = Rendered::default();
    out.plain(&format!("kiln: 1\nname: {}\n", request.name));
    out.plain(if request.inputs.is_empty() { "sources: {}\n" } else { "sources:\n" });
    for (index, path) in request.inputs.iter().enumerate() {
        let line = format!("  input-{}: {{local: {}}}", index + 1, path_text(path));
        out.line(RunPart::Input(index), &line);
    }
    out.plain("environment:\n  host: {packages: [");
    for (index, package) in request.packages.iter().enumerate() {
        out.plain(if index == 0 { "" } else { ", " });
        let start = out.text.len();
        out.plain(&yaml::string(&package.to_string()));
        let span = Span::new(start, out.text.len());
        out.parts.push((span, RunPart::Package(package.clone())));
    }
    out.plain(&format!("]}}\nsteps:\n  - name: {RUN_STEP}\n"));
    out.plain(if request.inputs.is_empty() { "" } else { "    mount:\n" });
    for (index, path) in request.inputs.iter().enumerate() {
        let line = format!("      input-{}: {}", index + 1, path_text(path));
        out.line(RunPart::Input(index), &line);
    }
    out.plain(if request.env.is_empty() { "" } else { "    env:\n" });
    for (name, value) in &request.env {
        let (key, value) = (yaml::string(name.as_str()), yaml::string(&escape_braces(value)));
        out.line(RunPart::Variable(name.clone()), &format!("      {key}: {value}"));
    }
    let words = yaml::list(request.argv.iter().map(String::as_str));
    out.line(RunPart::Command, &format!("    run: {words}"));
    out.plain(if request.outputs.is_empty() { "" } else { "    outputs:\n" });
    for (index, output) in request.outputs.iter().enumerate() {
        let slash = if output.folder { "/" } else { "" };
        let path = yaml::string(&escape_braces(&format!("{}{slash}", output.path)));
        out.line(RunPart::Output(index), &format!("      output-{}: {path}", index + 1));
    }
    out.plain(if request.outputs.is_empty() { "" } else { "artifacts:\n" });
    for (index, output) in request.outputs.iter().enumerate() {
        let reference = format!("{RUN_STEP}.output-{}", index + 1);
        let line = match output.path.split_last() {
            Some((_, name)) if output.folder => {
                let name = yaml::string(&escape_braces(&format!("{name}.tar")));
                format!("  - {{archive: [{reference}], name: {name}}}")
            }
            Some(_) | None => format!("  - {{file: {reference}}}"),
        };
        out.line(RunPart::Output(index), &line);
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
        let text = render_run(request).text;
        let manifest = parse(text.as_bytes(), "kiln.yaml")
            .unwrap_or_else(|found| panic!("{text}\n{found:#?}"));
        expand(&manifest, Platform::HERE).unwrap()
    }

    #[test]
    fn a_command_prints_as_a_build_file() {
        let request =
            request(&["src"], &["src/hello", "out/"], &[("V", "{1}")], &["make", "-C", "src"]);
        assert_eq!(
            render_run(&request).text,
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
