//! The command line as types: `--help`, man pages and completions come from here.
//!
//! Flags have environment twins, which `--help` shows. Precedence: flag, environment, built-in.

mod attesting;
mod trusting;

pub use attesting::*;
pub use trusting::*;

use std::path::PathBuf;

use attestor::trust::Level;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use model::digest::{Digest, ParseDigestError};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    about = "Sealed builds with signed proof of exactly what went in",
    long_about = "kiln runs build steps in sealed sandboxes with the network off, hashes every input and every\noutput, and signs SLSA provenance that says exactly what produced each artifact.\n\nTwo commands are enough:  kiln init   kiln build",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Print one JSON document on stdout instead of text
    #[arg(long, global = true, env = "KILN_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// Errors only; twice: nothing, use the exit code
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "KILN_QUIET")]
    pub quiet: u8,
    /// Output of all steps; -vv: sandbox set-up, -vvv: trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "KILN_VERBOSE")]
    pub verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto", env = "KILN_COLOR")]
    pub color: When,
    /// How to show progress
    #[arg(long, global = true, value_enum, default_value = "auto", env = "KILN_PROGRESS")]
    pub progress: Progress,
    /// Content store [default: $XDG_CACHE_HOME/kiln]
    #[arg(long, global = true, value_name = "DIR", env = "KILN_STORE")]
    pub store: Option<PathBuf>,
    /// Use only what the store holds; nothing is fetched
    #[arg(long, global = true, env = "KILN_OFFLINE", value_parser = FalseyValueParser::new())]
    pub offline: bool,
    /// Fail if the lock would change; the default in CI
    #[arg(long, global = true, env = "KILN_LOCKED", value_parser = FalseyValueParser::new())]
    pub locked: bool,
    /// Behave as if started in DIR
    #[arg(short = 'C', global = true, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Ask the attestor that listens at unix:PATH instead of starting one
    #[arg(long, global = true, value_name = "unix:PATH", env = "KILN_ATTESTOR", value_parser = attestor)]
    pub attestor: Option<PathBuf>,
    /// Steps at once [default: number of cores]
    #[arg(short, long, global = true, value_name = "N", env = "KILN_JOBS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// `auto`, `always` or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Where it fits.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// By what stderr is.
    Auto,
    /// Live panel.
    Tty,
    /// One line per change.
    Plain,
    /// JSON Lines on stderr.
    Json,
    /// Errors only.
    None,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Detect the project, write kiln.yaml, ignore lines and the first lock
    Init(InitArgs),
    /// Turn every moving reference into a digest
    Lock(LockArgs),
    /// Run the steps and tests, write artifacts and provenance to kiln-out/
    Build(BuildArgs),
    /// Seal and attest one command, with no build file
    Run(RunArgs),
    /// Decide whether a file can be trusted; exit 0 or 4
    Verify(VerifyArgs),
    /// Tell what a provenance says; decides nothing
    Inspect(InspectArgs),
    /// Sign a predicate of your own about files
    Attest(AttestArgs),
    /// The process that signs: on a shared host under a user of its own
    #[command(subcommand)]
    Attestor(AttestorCommand),
    /// Signing keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Who is believed
    #[command(subcommand)]
    Trust(TrustCommand),
    /// What is expected of a file
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// One build or file: times, inputs, outputs, trust
    Show(ShowArgs),
    /// Output of steps
    Log(LogArgs),
    /// The graph of steps and data edges
    Graph(GraphArgs),
    /// What this host can enforce, and the exact fix where it cannot
    Doctor(DoctorArgs),
    /// The long text of an error code
    Explain(ExplainArgs),
    /// JSON Schema of a format
    Schema(SchemaArgs),
    /// The content store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Completions for a shell
    Completions(CompletionsArgs),
    /// Man pages
    Man(ManArgs),
    /// Version, commit and digest of this program
    Version,
    /// Help on a command or topic: environment, exit-codes, hermeticity, states
    Help(HelpArgs),
}

/// `kiln init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Use this template instead of detecting one
    #[arg(long, value_enum)]
    pub template: Option<TemplateName>,
}

/// Templates of `kiln init`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TemplateName {
    /// Makefile and a C compiler.
    C,
    /// Cargo.
    Rust,
    /// Go.
    Go,
    /// npm.
    Npm,
    /// Python.
    Python,
    /// Nothing assumed.
    Blank,
}

/// `kiln lock`.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// Write nothing; exit 3 if the lock is stale
    #[arg(long)]
    pub check: bool,
    /// Move pins, all or the named one
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub upgrade: Option<String>,
}

/// `kiln build`.
#[derive(Debug, Args, Default, Clone)]
pub struct BuildArgs {
    /// Steps or artifacts; without any: everything
    #[arg(value_name = "STEP|ARTIFACT")]
    pub targets: Vec<String>,
    /// Where artifacts go [default: kiln-out beside the build file]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Pick combinations of the matrix
    #[arg(long, value_name = "AXIS=VALUE")]
    pub matrix: Vec<String>,
    /// Print graph and cache hits, and stop
    #[arg(long)]
    pub plan: bool,
    /// Bring all inputs into the store, and stop
    #[arg(long)]
    pub fetch_only: bool,
    /// Run every step, whatever the store knows
    #[arg(long)]
    pub no_cache: bool,
    /// Say of each step why it runs or not
    #[arg(long)]
    pub explain: bool,
    /// What runs the steps
    #[arg(long, value_enum, value_name = "NAME", default_value = "native")]
    pub backend: BackendName,
    /// What NAME.inputs holds
    #[arg(long, value_enum, default_value = "plan")]
    pub inputs: InputsLevel,
    /// Whether and how to sign.
    #[command(flatten)]
    pub signing: SigningArgs,
    /// A guarantee that may be absent: files, processes, identity, syscalls, limits,
    /// landlock
    #[arg(long, value_name = "LAYER")]
    pub allow_missing: Vec<String>,
}

/// Whether and how to sign: for all commands that make artifacts.
#[derive(Debug, Args, Default, Clone)]
pub struct SigningArgs {
    /// Fail at once if nothing can sign
    #[arg(long, conflicts_with = "no_sign")]
    pub sign: bool,
    /// Do not sign
    #[arg(long)]
    pub no_sign: bool,
    /// What to state besides the provenance; signs or fails
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "WHAT",
        conflicts_with = "no_sign"
    )]
    pub attest: Vec<AttestName>,
    /// Orders that the control plane opened, for an attestor that listens
    #[arg(long, value_name = "F", env = "KILN_ORDERS")]
    pub orders: Option<PathBuf>,
    /// Sign although the source differs from its commit; the provenance says so
    #[arg(long)]
    pub allow_dirty: bool,
}

/// What is stated of an artifact besides its provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AttestName {
    /// What the tests came to.
    TestResult,
    /// Which guarantees held, and by which mechanisms.
    Scai,
    /// Materials and product, in the words of in-toto layouts.
    Link,
    /// Where the steps wanted to go on a network.
    RuntimeTrace,
    /// A classic in-toto link, STEP.KEYID.link; the key must be Ed25519.
    InTotoLink,
}

/// What runs the steps. None ever stands in for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum BackendName {
    /// kiln's own sandbox.
    #[default]
    Native,
    /// A container engine: Docker or Podman.
    Docker,
    /// For containers that refuse namespaces; other mechanisms and a builder.id of its own.
    Confined,
}

/// What `NAME.inputs` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum InputsLevel {
    /// Plan, Actions and Directories.
    #[default]
    Plan,
    /// And every file of the sources.
    Sources,
    /// And every file of the environments.
    All,
}

impl InputsLevel {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            InputsLevel::Plan => "plan",
            InputsLevel::Sources => "sources",
            InputsLevel::All => "all",
        }
    }
}

/// `kiln run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A file or folder the command may read
    #[arg(long, value_name = "PATH")]
    pub input: Vec<String>,
    /// A file, or a folder with a final slash, to take out
    #[arg(long, value_name = "PATH")]
    pub output: Vec<String>,
    /// An installed package the command needs
    #[arg(long, value_name = "NAME")]
    pub package: Vec<String>,
    /// A variable of the step
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// Print the kiln.yaml that says the same, and stop
    #[arg(long)]
    pub print_build_file: bool,
    /// What runs the command
    #[arg(long, value_enum, value_name = "NAME", default_value = "native")]
    pub backend: BackendName,
    /// Run it, whatever the store knows
    #[arg(long)]
    pub no_cache: bool,
    /// Whether and how to sign.
    #[command(flatten)]
    pub signing: SigningArgs,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// `kiln verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The files to decide about
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The evidence, instead of what lies beside FILE; may be given several times
    #[arg(long, value_name = "F")]
    pub bundle: Vec<PathBuf>,
    /// A public key to trust, at L1 at most
    #[arg(long, value_name = "F")]
    pub key: Option<PathBuf>,
    /// Whom the certificate names.
    #[command(flatten)]
    pub by: IdentityArgs,
    /// By what it is judged.
    #[command(flatten)]
    pub root: RootArgs,
    /// The source it must come from
    #[arg(long, value_name = "URI")]
    pub source: Option<String>,
    /// What is expected: a policy file, or slsa-l1, slsa-l2, slsa-l3, ssdf
    #[arg(long, value_name = "F")]
    pub policy: Option<String>,
    /// Where FILE is to be had from: what a summary must be about, or will be
    #[arg(long, value_name = "URI")]
    pub resource_uri: Option<String>,
    /// The SLSA build level that is wanted
    #[arg(long, value_name = "N", value_parser = level)]
    pub level: Option<Level>,
    /// Attestations of dependencies, verified by the same trust
    #[arg(long, value_name = "DIR")]
    pub deps: Option<PathBuf>,
    /// Write the verdict, signed, as a bare line and as a bundle
    #[arg(long, value_name = "OUT", requires = "policy", requires = "resource_uri", conflicts_with_all = ["key", "identity", "source", "level"])]
    pub vsa: Option<PathBuf>,
    /// A layout of in-toto that the files must have followed, instead of provenance
    #[arg(long, value_name = "F", requires = "layout_key", conflicts_with_all = ["bundle", "key", "identity", "source", "policy", "level", "deps", "vsa", "resource_uri", "trusted_root", "explain"])]
    pub layout: Option<PathBuf>,
    /// A key of the layout's owner; all that are given must have signed it
    #[arg(long, value_name = "F", requires = "layout")]
    pub layout_key: Vec<PathBuf>,
    /// Where the links of the layout's steps lie [default: the current folder]
    #[arg(long, value_name = "DIR", requires = "layout")]
    pub link_dir: Option<PathBuf>,
    /// Print each check
    #[arg(long)]
    pub explain: bool,
}

/// `kiln inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// An artifact with its evidence beside it, or the evidence
    #[arg(value_name = "FILE|BUNDLE")]
    pub file: PathBuf,
    /// Print the statement as it was signed
    #[arg(long)]
    pub raw: bool,
}

/// `kiln attest`.
#[derive(Debug, Args)]
pub struct AttestArgs {
    /// The files the predicate is about
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The predicate, a JSON object
    #[arg(long, value_name = "F")]
    pub predicate: PathBuf,
    /// Its type
    #[arg(long = "type", value_name = "URI")]
    pub predicate_type: String,
}

/// `kiln key …`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; an existing one is never overwritten
    Generate {
        /// Which kind
        #[arg(long, value_enum, default_value = "p256")]
        algorithm: Algorithm,
    },
    /// Say which key signs
    Show {
        /// Print its entry for trust.toml instead, at L1 from now on
        #[arg(long)]
        trust: bool,
    },
    /// Print the public half as PEM
    Export,
    /// Take in a PKCS#8 PEM key
    Import {
        /// The key file
        file: PathBuf,
    },
    /// Put a new key in place; what the old one signed stays verifiable
    Rotate {
        /// Which kind
        #[arg(long, value_enum, default_value = "p256")]
        algorithm: Algorithm,
    },
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Algorithm {
    /// ECDSA P-256 with SHA-256.
    P256,
    /// Ed25519.
    Ed25519,
}

/// `kiln show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A build (`^0`, `^1`, id prefix), a file or a digest [default: the last build]
    #[arg(value_name = "BUILD|FILE|DIGEST")]
    pub what: Option<String>,
}

/// `kiln log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// A build, a step, `failed` or `slowest`
    #[arg(value_name = "BUILD|STEP", num_args = 0..=2)]
    pub what: Vec<String>,
    /// Keep printing while the build runs
    #[arg(long)]
    pub follow: bool,
    /// Byte for byte, even on a terminal and inside a CI system
    #[arg(long)]
    pub raw: bool,
}

/// `kiln graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// The form
    #[arg(long, value_enum, default_value = "text")]
    pub format: GraphFormat,
}

/// Forms of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Lines.
    Text,
    /// Graphviz.
    Dot,
    /// A picture.
    Svg,
}

/// `kiln doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Apply a named fix; may need root
    #[arg(long, value_name = "NAME")]
    pub fix: Option<String>,
}

/// `kiln explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code, `KILN-0102` or `0102`; without one: the list
    pub code: Option<String>,
}

/// `kiln schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which format
    #[arg(value_enum, default_value = "build-file")]
    pub format: SchemaName,
}

/// Formats with a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaName {
    /// kiln.yaml.
    BuildFile,
    /// kiln.lock, as JSON.
    Lock,
    /// The Record.
    Record,
    /// `--progress json`.
    Events,
}

/// `kiln store …`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Size and reach
    Info,
    /// Delete what nothing needs
    Gc,
    /// Check every name; --deep hashes everything again
    Verify {
        /// Hash every object again
        #[arg(long)]
        deep: bool,
    },
    /// List a tree, or the builds that are kept
    Ls {
        /// A tree's digest
        #[arg(value_parser = digest)]
        digest: Option<Digest>,
    },
    /// Print an object
    Cat {
        /// Its digest
        #[arg(value_parser = digest)]
        digest: Digest,
    },
}

/// Reads the address of an attestor: a Unix socket of this host, never a place on a network.
fn attestor(text: &str) -> Result<PathBuf, &'static str> {
    let path = text.strip_prefix("unix:").map(PathBuf::from);
    path.filter(|path| path.is_absolute()).ok_or("is not unix: and an absolute path")
}

/// Reads a digest, with or without `sha256:`.
fn digest(text: &str) -> Result<Digest, ParseDigestError> {
    text.parse().or_else(|_| Digest::from_hex(text))
}

/// `kiln completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `kiln man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write one page a command into DIR instead of the first page to stdout
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `kiln help`.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command or a topic
    pub topic: Vec<String>,
}
