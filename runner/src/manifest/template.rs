//! The first build file of a project, for `kiln init`.
//!
//! Each template works with what is built now: a toolchain from the host's packages, or from a
//! folder such as one that a toolchain installer filled, and dependencies that lie in the project.
//! Every line is needed; comments say what to change. What it gives is read by
//! [`parse`](super::parse()), which a test says for each.

use std::fmt;
use std::str::FromStr;

use model::{AbsPath, Ident};

/// A kind of project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Starter {
    /// A Makefile and a C compiler.
    C,
    /// A crate.
    Rust,
    /// A Go module.
    Go,
    /// A package of npm.
    Npm,
    /// A Python package.
    Python,
    /// Anything else.
    Blank,
}

/// A word that names no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of c, rust, go, npm, python, blank")]
pub struct UnknownStarter;

/// What stands in a template.
struct Parts {
    packages: &'static [&'static str],
    /// The packages still needed if the toolchain itself comes from a folder.
    beside_folder: &'static [&'static str],
    exclude: &'static [&'static str],
    note: &'static str,
    env: &'static str,
    run: &'static str,
    output: &'static str,
    artifact: &'static str,
}

impl Starter {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Starter; 6] =
        [Starter::Rust, Starter::Go, Starter::Npm, Starter::Python, Starter::C, Starter::Blank];

    /// Returns the file that shows a project to be of this kind; none for [`Starter::Blank`].
    pub fn marker(self) -> Option<&'static str> {
        match self {
            Starter::C => Some("Makefile"),
            Starter::Rust => Some("Cargo.toml"),
            Starter::Go => Some("go.mod"),
            Starter::Npm => Some("package.json"),
            Starter::Python => Some("pyproject.toml"),
            Starter::Blank => None,
        }
    }

    /// Returns the kind of a project whose folder has the files that `has` says. A Makefile beside
    /// another marker is that other kind's helper, so it is looked for last.
    pub fn detect(has: impl Fn(&str) -> bool) -> Starter {
        Starter::ALL
            .into_iter()
            .find(|starter| starter.marker().is_some_and(&has))
            .unwrap_or(Starter::Blank)
    }

    /// Returns the name of the template.
    pub fn as_str(self) -> &'static str {
        match self {
            Starter::C => "c",
            Starter::Rust => "rust",
            Starter::Go => "go",
            Starter::Npm => "npm",
            Starter::Python => "python",
            Starter::Blank => "blank",
        }
    }

    /// Returns the text of `kiln.yaml` for the project `name`. With `toolchain`, the compiler comes
    /// from that folder of the host instead of from its packages.
    pub fn render(self, name: &Ident, toolchain: Option<&AbsPath>) -> String {
        let parts = self.parts();
        let exclude = match parts.exclude {
            [] => String::new(),
            globs => format!("sources:\n  src: {{local: ., exclude: [{}]}}\n", globs.join(", ")),
        };
        let environment = match toolchain {
            None => format!("  host: {{packages: [{}]}}\n", parts.packages.join(", ")),
            Some(folder) => format!(
                "  host:\n    packages: [{}]\n    paths: [{{from: {}, path-prefix: true}}]\n",
                parts.beside_folder.join(", "),
                super::yaml::string(&folder.to_string())
            ),
        };
        let text = format!(
            "# {note}\nkiln: 1\nname: NAME\n{exclude}environment:\n{environment}steps:\n\
             {step}{env}    run: {run}\n    outputs: {{{output}}}\nartifacts:\n  - {{{artifact}}}\n",
            note = parts.note,
            step = "  - name: build\n",
            env = parts.env,
            run = parts.run,
            output = parts.output,
            artifact = parts.artifact,
        );
        text.replace("NAME", name.as_str())
    }

    fn parts(self) -> Parts {
        match self {
            Starter::C => Parts {
                packages: &["gcc", "libc6-dev", "make"],
                beside_folder: &["gcc", "libc6-dev", "make"],
                exclude: &[],
                note: "`outputs` names the file that make writes.",
                env: "",
                run: "make",
                output: "NAME: NAME",
                artifact: "file: build.NAME",
            },
            Starter::Rust => Parts {
                packages: &["cargo", "rustc", "gcc", "libc6-dev"],
                beside_folder: &["gcc", "libc6-dev"],
                exclude: &["target/"],
                note: "No step has a network: crates must lie in the project (cargo vendor).",
                env: "    env: {CARGO_HOME: /tmp/cargo-home}\n",
                run: "cargo build --release --locked --offline",
                output: "NAME: target/release/NAME",
                artifact: "file: build.NAME",
            },
            Starter::Go => Parts {
                packages: &["golang-go"],
                beside_folder: &[],
                exclude: &[],
                note: "No step has a network: modules must lie in the project (go mod vendor).",
                env: "    env: {CGO_ENABLED: \"0\", GOCACHE: /tmp/go-cache, GOPROXY: \"off\", \
                      GOTOOLCHAIN: local}\n",
                run: "go build -trimpath -buildvcs=false -o out/NAME .",
                output: "NAME: out/NAME",
                artifact: "file: build.NAME",
            },
            Starter::Npm => Parts {
                packages: &["nodejs", "npm"],
                beside_folder: &[],
                exclude: &["dist/"],
                note: "No step has a network: node_modules must lie in the project.",
                env: "    env: {npm_config_cache: /tmp/npm-cache, npm_config_offline: \"true\"}\n",
                run: "npm run build",
                output: "dist: dist/",
                artifact: "archive: [build.dist], name: NAME.tar.gz",
            },
            Starter::Python => Parts {
                packages: &["python3", "python3-pip", "python3-setuptools", "python3-wheel"],
                beside_folder: &[],
                exclude: &["build/", "dist/"],
                note: "No step has a network: build tools come from the packages below.",
                env: "",
                run: "python3 -m pip wheel --no-index --no-deps --no-build-isolation -w out .",
                output: "wheels: out/",
                artifact: "archive: [build.wheels], name: NAME.tar.gz",
            },
            Starter::Blank => Parts {
                packages: &[],
                beside_folder: &[],
                exclude: &[],
                note: "`run` is a script; `outputs` names what it writes.",
                env: "",
                run: "echo 'Hello from kiln' > hello.txt",
                output: "hello: hello.txt",
                artifact: "file: build.hello",
            },
        }
    }
}

/// Returns the nearest identifier to the name of a folder: `project` if nothing of it fits.
pub fn ident_of(folder: &str) -> Option<Ident> {
    let lower = folder.to_ascii_lowercase();
    let fits = |letter: char| matches!(letter, 'a'..='z' | '0'..='9');
    let clean: String =
        lower.chars().map(|letter| if fits(letter) { letter } else { '-' }).collect();
    let clean = clean.trim_start_matches(|letter: char| !letter.is_ascii_lowercase());
    let clean: String = clean.chars().take(63).collect();
    Ident::new(clean.trim_end_matches('-')).or_else(|_| Ident::new("project")).ok()
}

impl fmt::Display for Starter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Starter {
    type Err = UnknownStarter;

    fn from_str(text: &str) -> Result<Starter, UnknownStarter> {
        Starter::ALL.into_iter().find(|starter| starter.as_str() == text).ok_or(UnknownStarter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn every_template_is_a_build_file_that_is_accepted() {
        let folder = AbsPath::new("/opt/tool chain").unwrap();
        for starter in Starter::ALL {
            assert_eq!(starter.as_str().parse(), Ok(starter));
            for toolchain in [None, Some(&folder)] {
                let text = starter.render(&Ident::new("shop").unwrap(), toolchain);
                let manifest = parse(text.as_bytes(), "kiln.yaml");
                assert!(manifest.is_ok(), "{text}\n{manifest:#?}");
                assert!(text.lines().count() <= 16 && !text.contains("NAME"), "{text}");
            }
        }
    }

    #[test]
    fn the_template_of_c_is_the_hello_example() {
        assert_eq!(
            Starter::C.render(&Ident::new("hello").unwrap(), None),
            "\
# `outputs` names the file that make writes.
kiln: 1
name: hello
environment:
  host: {packages: [gcc, libc6-dev, make]}
steps:
  - name: build
    run: make
    outputs: {hello: hello}
artifacts:
  - {file: build.hello}
"
        );
    }

    #[test]
    fn projects_are_known_by_their_files() {
        let detect = |files: &[&str]| Starter::detect(|file| files.contains(&file));
        assert_eq!(detect(&["Makefile", "hello.c"]), Starter::C);
        assert_eq!(detect(&["Makefile", "Cargo.toml"]), Starter::Rust);
        assert_eq!(detect(&["go.mod"]), Starter::Go);
        assert_eq!(detect(&["package.json"]), Starter::Npm);
        assert_eq!(detect(&["pyproject.toml"]), Starter::Python);
        assert_eq!(detect(&["README"]), Starter::Blank);
    }

    #[test]
    fn folders_give_identifiers() {
        for (folder, ident) in [
            ("hello-c", "hello-c"),
            ("My Shop", "my-shop"),
            ("9lives", "lives"),
            ("", "project"),
            ("日本", "project"),
            (&"x".repeat(100), &"x".repeat(63)),
        ] {
            assert_eq!(ident_of(folder).unwrap().as_str(), ident);
        }
    }
}
