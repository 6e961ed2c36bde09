//! `kiln run`: any command sealed and attested, with no build file.
//!
//! The command line is turned into the build file that says the same, and that is built: there is one
//! way from a wish to a sandbox. Only the provenance differs: its buildType says that there was no
//! build file and no committed lock.

use std::collections::BTreeMap;

use fetch::host::AskedPackage;
use model::RelPath;
use model::record::Asked;
use model::text;

use super::args::{AttestName, InputsLevel, RunArgs};
use super::command_line::CommandLine;
use super::{Ended, Session, build};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::manifest::{self, EnvName, RunOutput, RunPart, RunRequest, ident_of};
use crate::pipeline::{self, AskedFor, Mode, Source, Wish};
use crate::plan::expand::PATH;
use crate::project::Project;
use crate::report::Talk;

/// Runs one command, or prints the build file that says the same.
pub fn run(session: &Session, args: &RunArgs) -> Ended {
    let line = CommandLine::of(args);
    let rendered = manifest::render_run(&request(session, args, &line)?);
    if args.print_build_file {
        super::answer(session, "build-file", rendered.text.as_bytes());
        return Ok(Exit::Done);
    }
    let project = Project {
        folder: session.context.folder.clone(),
        made_of: Some(line.origin(&rendered)),
        build_file: rendered.text.into_bytes(),
        lock: None,
    };
    let orders = super::build::orders(session, args.signing.orders.as_deref())?;
    let wish = Wish {
        from: Source::CommandLine,
        mode: Mode::Build,
        targets: Vec::new(),
        matrix: Vec::new(),
        output: None,
        backend: session.backend(args.backend),
        use_cache: !args.no_cache,
        signing: build::signing(
            args.signing.sign || !args.signing.attest.is_empty(),
            args.signing.no_sign,
        ),
        allow_dirty: args.signing.allow_dirty,
        waived: std::collections::BTreeSet::new(),
        inputs: InputsLevel::Plan,
        attest: build::attest(&args.signing.attest),
        classic_link: args.signing.attest.contains(&AttestName::InTotoLink),
        orders,
        asked: AskedFor::Command(asked(args)),
    };
    let mut talk = Talk::new(&session.global, &session.context);
    let finished = pipeline::build(session, &project, &wish, &mut talk);
    talk.end();
    match finished {
        Ok(finished) => build::tell(session, &mut talk, &wish, &finished, false),
        Err(failed) => return build::unfinished(session, &wish, failed),
    }
    Ok(Exit::Done)
}

/// Checks the command line, and adds the package that owns the command.
fn request(
    session: &Session,
    args: &RunArgs,
    line: &CommandLine,
) -> Result<RunRequest, Vec<Diagnostic>> {
    let path = |text: &String, part: RunPart, flag: &str| {
        RelPath::new(text).map_err(|error| {
            vec![
                super::wrong_usage(format!("{flag} `{}` {error}", text::escape(text.as_bytes())))
                    .at(line.place(&part))
                    .expected("a path below the current folder, relative, without `..`")
                    .help("start kiln in the folder that holds it:  kiln -C DIR run …"),
            ]
        })
    };
    let mut packages = Vec::new();
    for name in &args.package {
        packages.push(AskedPackage::new(name).map_err(|error| {
            let headline = format!("--package `{}` {error}", text::escape(name.as_bytes()));
            vec![
                super::wrong_usage(headline)
                    .at(line.place_of_package(name))
                    .help("name it as the host's package manager does:  dpkg -S FILE"),
            ]
        })?);
    }
    let command = args.command.first().map_or("", String::as_str);
    let search: Vec<&str> = PATH.split(':').collect();
    let owner =
        fetch::host::owner(command, &search, std::path::Path::new("/")).map_err(|error| {
            vec![crate::refusal::with_causes(
                Diagnostic::new(Code::HostDiffers, error.to_string())
                    .at(line.place(&RunPart::Command))
                    .help("check that the host's package database can be read:  dpkg -S FILE"),
                &error,
            )]
        })?;
    packages.extend(owner);
    packages.sort();
    packages.dedup();
    let folder_name =
        session.context.folder.file_name().and_then(|name| name.to_str()).unwrap_or("run");
    let name = ident_of(folder_name)
        .ok_or_else(|| vec![Diagnostic::new(Code::Internal, "no name for the run")])?;
    let inputs = args.input.iter().enumerate();
    let outputs = args.output.iter().enumerate();
    Ok(RunRequest {
        name,
        inputs: inputs
            .map(|(index, text)| path(text, RunPart::Input(index), "--input"))
            .collect::<Result<_, _>>()?,
        outputs: outputs
            .map(|(index, text)| {
                path(text, RunPart::Output(index), "--output")
                    .map(|path| RunOutput { path, folder: text.ends_with('/') })
            })
            .collect::<Result<_, _>>()?,
        packages,
        env: variables(args, line)?,
        argv: args.command.clone(),
    })
}

/// Reads each `--env`.
fn variables(
    args: &RunArgs,
    line: &CommandLine,
) -> Result<BTreeMap<EnvName, String>, Vec<Diagnostic>> {
    let mut env = BTreeMap::new();
    for pair in &args.env {
        let named = pair
            .split_once('=')
            .and_then(|(name, value)| Some((EnvName::new(name)?, value.to_owned())));
        let (name, value) = named.ok_or_else(|| {
            vec![
                super::wrong_usage("--env names no variable")
                    .at(line.place_of_variable(pair))
                    .expected("NAME=VALUE, the name of letters, digits and _")
                    .help("write it as in:  --env CFLAGS=-O2"),
            ]
        })?;
        env.insert(name, value);
    }
    Ok(env)
}

fn asked(args: &RunArgs) -> Asked {
    let list = |texts: &[String]| serde_json::to_string(texts).unwrap_or_default();
    let variables: BTreeMap<&str, &str> =
        args.env.iter().filter_map(|pair| pair.split_once('=')).collect();
    Asked::Run {
        command: list(&args.command),
        inputs: list(&args.input),
        outputs: list(&args.output),
        packages: list(&args.package),
        environment: serde_json::to_string(&variables).unwrap_or_default(),
        target: String::new(),
    }
}
