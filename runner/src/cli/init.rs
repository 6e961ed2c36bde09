//! `kiln init`: write a first build file, ignore lines and the lock.

use model::{AbsPath, Ident};
use serde_json::json;

use super::args::{InitArgs, TemplateName};
use super::{Ended, Session, files, lasting, stop};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::lock::Lock;
use crate::manifest::{Starter, ident_of};
use crate::project::{self, BUILD_FILE, LOCK_FILE, OUTPUT_FOLDER};
use crate::{manifest, pipeline, report};

/// The file of ignore rules.
const IGNORE_FILE: &str = ".gitignore";

/// Detects the project and writes what it needs. Asks nothing; overwrites nothing.
pub fn run(session: &Session, args: &InitArgs) -> Ended {
    let folder = &session.context.folder;
    if folder.join(BUILD_FILE).symlink_metadata().is_ok() {
        return stop(
            Diagnostic::new(Code::Collision, format!("{BUILD_FILE} is here already"))
                .help(format!("change it, or delete it first:  rm {BUILD_FILE}")),
        );
    }
    let chosen = match args.template {
        Some(TemplateName::C) => Starter::C,
        Some(TemplateName::Rust) => Starter::Rust,
        Some(TemplateName::Go) => Starter::Go,
        Some(TemplateName::Npm) => Starter::Npm,
        Some(TemplateName::Python) => Starter::Python,
        Some(TemplateName::Blank) => Starter::Blank,
        None => Starter::detect(|name| folder.join(name).symlink_metadata().is_ok()),
    };
    let Some(name) =
        ident_of(folder.file_name().and_then(|name| name.to_str()).unwrap_or("project"))
    else {
        return stop(Diagnostic::new(Code::Internal, "no name for the project"));
    };
    let text = chosen.render(&name, toolchain(session, chosen).as_ref());
    let text = match chosen {
        Starter::C => with_target(&text, &name, folder),
        _ => text,
    };
    let parsed = manifest::parse(text.as_bytes(), BUILD_FILE)?;
    let lock_text = Lock::made_for(&parsed, pipeline::GENERATED_BY).to_text();
    lasting::write(folder, BUILD_FILE, text.as_bytes())?;
    lasting::write(folder, LOCK_FILE, lock_text.as_bytes())?;
    let ignored = ignore(session)?;
    project::open(folder).map_err(|diagnostic| vec![diagnostic])?;
    if session.global.json {
        report::document(
            "init",
            json!({"template": chosen.as_str(), "wrote": [BUILD_FILE, LOCK_FILE], "ignored": ignored}),
        );
    } else if session.speaks() {
        let line = if ignored { ", 1 line to .gitignore" } else { "" };
        let start = match (args.template, chosen.marker()) {
            (Some(_), _) => format!("template {}", chosen.as_str()),
            (None, Some(marker)) => format!("found {marker}"),
            (None, None) => "found nothing that kiln knows; a blank start".to_owned(),
        };
        report::line(&format!(
            " {start}\n wrote {BUILD_FILE} ({} lines), {LOCK_FILE}{line}\n next: kiln build",
            text.lines().count()
        ));
    }
    Ok(Exit::Done)
}

/// Puts what the Makefile makes in the place of the guess that it is named like the folder.
fn with_target(text: &str, name: &Ident, folder: &std::path::Path) -> String {
    let makefile = files::read(&folder.join("Makefile")).ok().flatten().unwrap_or_default();
    let makefile = String::from_utf8_lossy(&makefile);
    let Some(target) = first_target(&makefile) else { return text.to_owned() };
    let Some(output) = ident_of(target.rsplit('/').next().unwrap_or(target)) else {
        return text.to_owned();
    };
    text.replace(&format!("{{{name}: {name}}}"), &format!("{{{output}: {target}}}"))
        .replace(&format!("build.{name}"), &format!("build.{output}"))
}

/// Returns the file that `make` makes first: the first target, or what an `all` asks for first.
/// A guess for a first build file, which its author reads; variables and patterns are not followed.
fn first_target(makefile: &str) -> Option<&str> {
    let plain = |word: &&str| {
        word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
            && !word.starts_with(['.', '/', '-'])
            && !word.contains("..")
    };
    let rules = || makefile.lines().filter(|line| !line.starts_with(['\t', '#', ' ', '.']));
    let mut rules =
        rules().filter_map(|line| line.split_once(':')).filter(|(_, rest)| !rest.starts_with('='));
    let (target, needs) = rules.next()?;
    match target.trim() {
        "all" | "build" | "default" => needs.split_whitespace().next().filter(plain),
        target => Some(target).filter(plain),
    }
}

/// Returns the folder of a Rust toolchain that rustup installed, if it is the one in use.
fn toolchain(session: &Session, chosen: Starter) -> Option<AbsPath> {
    let home = session.context.home.as_ref().filter(|_| chosen == Starter::Rust)?;
    let rustup = session
        .context
        .variable("RUSTUP_HOME")
        .map_or_else(|| home.join(".rustup"), std::path::PathBuf::from);
    let mut found: Vec<_> = std::fs::read_dir(rustup.join("toolchains"))
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    found.sort();
    let folder = found
        .iter()
        .find(|path| path.to_string_lossy().contains("stable"))
        .or_else(|| found.first())?;
    AbsPath::new(folder.canonicalize().ok()?.to_str()?).ok()
}

/// Adds the output folder to the ignore rules, where git is used and it is not there yet.
fn ignore(session: &Session) -> Result<bool, Vec<Diagnostic>> {
    let folder = &session.context.folder;
    let in_git = folder.ancestors().any(|above| above.join(".git").symlink_metadata().is_ok());
    let path = folder.join(IGNORE_FILE);
    // Whatever is not read whole is not written either.
    let is_link = path.symlink_metadata().is_ok_and(|seen| seen.is_symlink());
    let Ok(old) = files::read(&path) else { return Ok(false) };
    let old = old.unwrap_or_default();
    if is_link {
        return Ok(false);
    }
    let wanted = format!("/{OUTPUT_FOLDER}/");
    let there = String::from_utf8_lossy(&old)
        .lines()
        .any(|line| line.trim().trim_matches('/') == OUTPUT_FOLDER);
    if !in_git || there {
        return Ok(false);
    }
    let newline: &[u8] = if old.is_empty() || old.ends_with(b"\n") { b"" } else { b"\n" };
    let new = [&old, newline, wanted.as_bytes(), b"\n"].concat();
    lasting::write(folder, IGNORE_FILE, &new)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::first_target;

    #[test]
    fn the_first_file_that_make_makes_is_found() {
        for (makefile, target) in [
            ("hello: hello.c\n\tcc -o hello hello.c\n", Some("hello")),
            ("CFLAGS := -O2\n.PHONY: all\nall: bin/app test\n", Some("bin/app")),
            ("# app: x\n\nall: $(PROGRAM)\n", None),
            ("%.o: %.c\n", None),
            ("", None),
        ] {
            assert_eq!(first_target(makefile), target, "{makefile}");
        }
    }
}
