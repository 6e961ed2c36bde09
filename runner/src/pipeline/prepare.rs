//! Steps 2 and 3 of the pipeline: from the build file to a plan whose inputs are all known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fetch::host::{Asked, AskedError, Forbidden};
use model::digest::{Blob, Digest};
use model::isolation::Guarantee;
use model::record::{DigestOf, GitId, SourceRef};
use model::relpath::{AbsPath, Ident, Name, RelPath};
use model::step::Step;
use model::tree::Directory;

use super::build::Wish;
use super::select;
use super::survey::{Source, Surveyed, draw};
use crate::cli::Session;
use crate::diagnostic::{Code, Diagnostic};
use crate::environment::{self, Environment};
use crate::evidence::{Inputs, SourceFact};
use crate::manifest::{self, EnvironmentKind, Epoch, Manifest, SourceKind};
use crate::plan::action::{ActionError, Known};
use crate::plan::expand::{self, Grounds};
use crate::plan::{Plan, collide};
use crate::project::{BUILD_FILE, LOCK_FILE, Project};
use crate::refusal;
use crate::report::{Event, Talk};
use crate::source::{
    self, Checkout, Exclude, GitIdentity, LocalSource, Scan, Scanned, SourceContent, StatCache,
    UserGit,
};
use crate::store::Store;

/// Everything known before the first step runs.
#[derive(Debug)]
pub struct Prepared {
    /// The build file.
    pub manifest: Arc<Manifest>,
    /// What will run.
    pub plan: Plan,
    /// What goes in, by digest.
    pub inputs: Inputs,
    /// The scanned sources, whose files are brought into the store when a step needs them.
    pub scanned: Scanned,
    /// The lock's new text, where it would change.
    pub new_lock: Option<String>,
}

/// What was found in the project, before anything is brought into the store.
#[derive(Debug)]
pub struct Looked {
    /// The sources, hashed.
    pub scanned: Scanned,
    /// Paths that differ from the commit, printed; empty when clean.
    pub dirty: Vec<String>,
    /// Whether the lock would change, so that no commit can hold it yet.
    pub writes_lock: bool,
    /// The commit.
    pub commit: Option<GitId>,
    epoch: i64,
    sources: BTreeMap<Ident, Known>,
}

/// Looks at the sources, and refuses what is wrong with them or with where they go.
///
/// # Errors
/// Everything that is wrong with the sources; KILN-0114 where it is plain that two inputs of a step
/// collide.
pub fn look(
    session: &Session,
    project: &Project,
    surveyed: &Surveyed,
    waived: &BTreeSet<Guarantee>,
    store: &Store,
) -> Result<Looked, Vec<Diagnostic>> {
    let Surveyed { manifest, expanded, sketch, new_lock } = surveyed;
    let scanned = scan(session, project, manifest, store)?;
    let epoch = epoch(manifest, &scanned)?;
    let sources: BTreeMap<Ident, Known> =
        scanned.sources.iter().map(|(name, tree)| (name.clone(), known(&tree.content))).collect();
    let mut drawn = draw(manifest, expanded, Some(&sources), epoch, waived);
    drawn.steps.retain(|id, _| sketch.steps.contains_key(id));
    files_have_names(manifest, &drawn, expanded)?;
    let scanned_folder = |blob: &Blob| folder_of(&scanned, blob).ok_or(NotScanned);
    collisions(surveyed, &drawn, &|step| {
        collide::without_environment(&drawn, step, &scanned_folder)
    })?;
    let writes_lock = new_lock.is_some();
    let dirty = dirty(&scanned, writes_lock);
    let commit = commit(&scanned);
    Ok(Looked { scanned, dirty, writes_lock, commit, epoch, sources })
}

/// A folder that is no part of a scanned source: the environment's, or what a step will leave.
#[derive(Debug, thiserror::Error)]
#[error("the folder is not known yet")]
struct NotScanned;

/// Brings the environments in and makes the plan.
///
/// # Errors
/// What `ready` says before the first environment is read; everything that is wrong with one.
#[expect(clippy::too_many_arguments, reason = "the ends of all that went before")]
pub fn bring_in(
    session: &Session,
    project: &Project,
    wish: &Wish,
    surveyed: Surveyed,
    looked: Looked,
    ready: &dyn Fn() -> Vec<Diagnostic>,
    store: &Store,
    talk: &mut Talk,
) -> Result<Prepared, Vec<Diagnostic>> {
    let used: BTreeSet<&Ident> = surveyed
        .expanded
        .instances
        .iter()
        .filter(|instance| surveyed.sketch.steps.contains_key(&instance.id))
        .filter(|instance| instance.root.is_none())
        .map(|instance| &instance.environment)
        .collect();
    let environments = environments(session, &surveyed.manifest, &used, ready, store, talk)?;
    super::pins::check(&surveyed.manifest, &environments, project.lock.as_deref())?;
    let roots = environments
        .iter()
        .map(|(name, found)| (name.clone(), (found.root, found.path_prefixes.clone())))
        .collect();
    let Looked { scanned, dirty, commit, epoch, sources, .. } = looked;
    let grounds = Grounds {
        name: surveyed.manifest.name.value.as_str(),
        sources: &sources,
        environments: &roots,
        epoch,
        waived: &wish.waived,
    };
    let mut plan = expand::expand(&surveyed.expanded, &grounds);
    select::restrict(&mut plan, &wish.targets, &wish.matrix)?;
    let folder = |blob: &Blob| match folder_of(&scanned, blob) {
        Some(folder) => Ok(folder),
        None => store.load_directory(blob),
    };
    collisions(&surveyed, &plan, &|step| collide::with_environment(&plan, step, &folder))?;
    let Surveyed { manifest, new_lock, .. } = surveyed;
    let lock = new_lock.as_deref();
    let inputs = inputs(
        project,
        wish.from,
        lock,
        &manifest,
        &scanned,
        environments,
        (commit, !dirty.is_empty()),
    );
    Ok(Prepared { manifest, plan, inputs, scanned, new_lock })
}

/// Refuses inputs that would hide one another, each at its place in the build file.
fn collisions<E: std::error::Error>(
    surveyed: &Surveyed,
    plan: &Plan,
    find: &dyn Fn(&Step) -> Option<ActionError<E>>,
) -> Result<(), Vec<Diagnostic>> {
    let mut wrong = Vec::new();
    let mut blamed = BTreeSet::new();
    for instance in &surveyed.expanded.instances {
        let found = plan.steps.get(&instance.id).and_then(find);
        let Some(error) = found else { continue };
        let (ActionError::Hides { at, .. } | ActionError::NotAFolder { at, .. }) = &error else {
            continue;
        };
        let span = instance.placed_at(at).unwrap_or(instance.at);
        if blamed.insert(span.start) {
            let told = crate::execute::collides(&instance.id, &error);
            wrong.push(told.at(surveyed.manifest.place(span)));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Returns a folder of a source that was scanned.
pub(super) fn folder_of(scanned: &Scanned, blob: &Blob) -> Option<Directory> {
    let mut trees = scanned.sources.values().filter_map(|source| match &source.content {
        SourceContent::Folder(tree) => Some(tree),
        SourceContent::File { .. } => None,
    });
    trees.find_map(|tree| tree.directories.get(blob).cloned())
}

/// Returns what differs from the commit: what was scanned, and a lock that this build writes.
fn dirty(scanned: &Scanned, writes_lock: bool) -> Vec<String> {
    let GitIdentity::Git(checkout) = &scanned.git else { return Vec::new() };
    let mut paths: Vec<String> = checkout.dirty.iter().map(|dirty| dirty.path.clone()).collect();
    if writes_lock && !paths.iter().any(|path| path == LOCK_FILE) {
        paths.push(LOCK_FILE.to_owned());
    }
    paths
}

/// Refuses a single file in the place of the work folder: it needs a name of its own.
fn files_have_names(
    manifest: &Manifest,
    plan: &Plan,
    expanded: &manifest::Expanded,
) -> Result<(), Vec<Diagnostic>> {
    let bare = |step: &model::step::Step| {
        step.mounts
            .iter()
            .find(|mount| {
                mount.at.to_string() == model::step::WORK_FOLDER
                    && matches!(mount.input, model::step::Input::File { .. })
            })
            .map(|mount| mount.label.clone())
    };
    for instance in &expanded.instances {
        if let Some(label) = plan.steps.get(&instance.id).and_then(bare) {
            return Err(vec![
                Diagnostic::new(
                    Code::WrongValue,
                    format!(
                        "step `{}` has the single file `{label}` as its whole work folder",
                        instance.id
                    ),
                )
                .at(manifest.place(instance.at))
                .help(format!("give it a name:  mount: {{{label}: NAME}}")),
            ]);
        }
    }
    Ok(())
}

fn known(content: &SourceContent) -> Known {
    match content {
        SourceContent::Folder(tree) => Known::Tree(tree.root),
        SourceContent::File { blob, executable } => {
            Known::File { blob: *blob, executable: *executable }
        }
    }
}

fn scan(
    session: &Session,
    project: &Project,
    manifest: &Manifest,
    store: &Store,
) -> Result<Scanned, Vec<Diagnostic>> {
    let sources = local_sources(manifest)?;
    let cache_path = stat_cache_path(store);
    // A cache that cannot be read only costs time.
    let mut cache = StatCache::read(&cache_path).unwrap_or_default();
    let user = user_git(session);
    let wanted = Scan {
        project: &project.folder,
        sources: &sources,
        user: &user,
        now: session.context.clock(),
    };
    let scanned = source::scan(&wanted, &mut cache)
        .map_err(|error| vec![select::source_error(manifest, &error)])?;
    // A cache that cannot be written only costs time.
    if let (Some(bytes), Ok(name)) = (cache.changed_bytes(), Name::new(STAT_CACHE))
        && let Err(error) = store.put_state(&name, &bytes)
    {
        tracing::debug!(%error, "the stat cache was not written");
    }
    Ok(scanned)
}

/// Returns the local sources of a build file.
pub(super) fn local_sources(manifest: &Manifest) -> Result<Vec<LocalSource>, Vec<Diagnostic>> {
    let mut sources = Vec::with_capacity(manifest.sources.len());
    for found in &manifest.sources {
        let SourceKind::Local { path, exclude } = &found.kind;
        let globs: Vec<&str> = exclude.iter().map(|glob| glob.value.as_str()).collect();
        let exclude = Exclude::parse(&globs).map_err(|bad| {
            let span = exclude.get(bad.position).map_or(path.span, |glob| glob.span);
            vec![Diagnostic::new(Code::WrongValue, bad.to_string()).at(manifest.place(span))]
        })?;
        sources.push(LocalSource {
            name: found.name.value.clone(),
            path: path.value.clone(),
            exclude,
        });
    }
    Ok(sources)
}

/// The stat cache's name below the store's `state`.
const STAT_CACHE: &str = "stat-cache";

fn stat_cache_path(store: &Store) -> PathBuf {
    store.path().join("state").join(STAT_CACHE)
}

pub(super) fn user_git(session: &Session) -> UserGit {
    let home = session.context.home.clone();
    let config_home = session.context.config.parent().map(std::path::Path::to_owned);
    let mut configs = vec![PathBuf::from("/etc/gitconfig")];
    configs.extend(config_home.iter().map(|folder| folder.join("git/config")));
    configs.extend(home.iter().map(|home| home.join(".gitconfig")));
    UserGit { configs, ignore: config_home.map(|folder| folder.join("git/ignore")), home }
}

/// Brings the environments in that `used` names.
pub(super) fn environments(
    session: &Session,
    manifest: &Manifest,
    used: &BTreeSet<&Ident>,
    ready: &dyn Fn() -> Vec<Diagnostic>,
    store: &Store,
    talk: &mut Talk,
) -> Result<BTreeMap<Ident, Environment>, Vec<Diagnostic>> {
    let mut found = BTreeMap::new();
    for environment in
        manifest.environments.iter().filter(|environment| used.contains(&environment.name.value))
    {
        let EnvironmentKind::Host(host) = &environment.kind else { continue };
        let name = environment.name.value.as_str();
        let asked = asked(session, manifest, host).map_err(|refused| vec![refused])?;
        let refused = |error: environment::Error| {
            let diagnostic = refusal::environment(name, &error);
            let span = select::blamed(host, &error).unwrap_or(environment.name.span);
            vec![diagnostic.at(manifest.place(span))]
        };
        let what = format!("environment {name}");
        let began = Instant::now();
        let looked = environment::look_up(store, &asked, session.context.now()).map_err(refused)?;
        if let environment::Looked::Absent(_) = &looked {
            let wrong = ready();
            if !wrong.is_empty() {
                return Err(wrong);
            }
        }
        talk.event(Event::Importing { what: what.clone() });
        talk.tick();
        let (brought, files) = match looked {
            environment::Looked::Kept(kept) => (kept, 0),
            environment::Looked::Absent(absent) => {
                absent.bring(store, session.cancel()?).map_err(refused)?
            }
        };
        talk.event(Event::Imported { what, files: files as u64, took: began.elapsed() });
        found.insert(environment.name.value.clone(), brought);
    }
    Ok(found)
}

fn asked(
    session: &Session,
    manifest: &Manifest,
    host: &manifest::Host,
) -> Result<Asked, Diagnostic> {
    let packages = host.packages.iter().map(|package| package.value.clone()).collect();
    let paths = host.paths.iter().map(|path| path.value.clone()).collect();
    let place = |path: &std::path::Path| path.to_str().and_then(|path| AbsPath::new(path).ok());
    let forbidden = Forbidden {
        // The key and the journal are as little an input as the store.
        stores: [&session.context.store, &session.context.config, &session.context.state]
            .into_iter()
            .filter_map(|folder| place(folder))
            .collect(),
        homes: session.context.home.as_deref().and_then(place).into_iter().collect(),
    };
    for path in &host.paths {
        path.value.check(&forbidden).map_err(|error| {
            let told = not_a_path(&error).got(path.value.from.to_string());
            told.at(manifest.place(path.span))
        })?;
    }
    Asked::new(packages, paths, forbidden).map_err(|error| not_a_path(&error))
}

/// A path of `host: {paths: […]}` that may not be an input, or not at its place.
fn not_a_path(error: &AskedError) -> Diagnostic {
    let told = Diagnostic::new(Code::WrongValue, error.to_string());
    match error {
        AskedError::Place { .. } => told
            .expected("a place that kiln does not make itself")
            .help("give it another place:  {from: PATH, at: /opt/NAME}"),
        AskedError::Root | AskedError::Kernel { .. } | AskedError::Home { .. } => told
            .expected("a file or folder of the host that is none of its own")
            .help("name the one folder or file that the step needs"),
        AskedError::Store { .. } => told.expected("a folder without kiln's own in it").help(
            "name a folder beside it, or keep kiln's elsewhere:  --store DIR, XDG_CONFIG_HOME",
        ),
    }
}

fn epoch(manifest: &Manifest, scanned: &Scanned) -> Result<i64, Vec<Diagnostic>> {
    match manifest.source_date_epoch {
        Epoch::Seconds(seconds) => Ok(seconds),
        Epoch::Commit(span) => match &scanned.git {
            GitIdentity::Git(Checkout { commit_seconds: Some(seconds), .. }) => Ok(*seconds),
            GitIdentity::Git(_) | GitIdentity::None => Err(vec![
                Diagnostic::new(Code::WrongValue, "`source-date-epoch: commit` needs a commit")
                    .at(manifest.place(span))
                    .why("the project is not in a git work tree with a commit")
                    .help("write a number of seconds, or leave the key out"),
            ]),
        },
    }
}

fn git_id(id: &source::git::GitId) -> Option<GitId> {
    GitId::parse(&id.to_string()).ok()
}

fn commit(scanned: &Scanned) -> Option<GitId> {
    match &scanned.git {
        GitIdentity::None => None,
        GitIdentity::Git(checkout) => checkout.commit.as_ref().and_then(git_id),
    }
}

impl Looked {
    /// Returns what the Record says of the source.
    pub fn source(&self) -> SourceRef {
        source_ref(&self.scanned, self.commit.as_ref(), !self.dirty.is_empty())
    }
}

fn source_ref(scanned: &Scanned, commit: Option<&GitId>, dirty: bool) -> SourceRef {
    let checkout = match &scanned.git {
        GitIdentity::None => None,
        GitIdentity::Git(checkout) => Some(checkout),
    };
    SourceRef {
        uri: checkout
            .and_then(|checkout| checkout.remote.clone())
            .unwrap_or_else(|| "local".to_owned()),
        commit: commit.cloned(),
        subfolder: checkout.map_or_else(RelPath::here, |checkout| checkout.subfolder.clone()),
        dirty,
    }
}

fn inputs(
    project: &Project,
    from: Source,
    new_lock: Option<&str>,
    manifest: &Manifest,
    scanned: &Scanned,
    environments: BTreeMap<Ident, Environment>,
    (commit, dirty): (Option<GitId>, bool),
) -> Inputs {
    let checkout = match &scanned.git {
        GitIdentity::None => None,
        GitIdentity::Git(checkout) => Some(checkout),
    };
    let source = source_ref(scanned, commit.as_ref(), dirty);
    let facts = manifest.sources.iter().filter_map(|declared| {
        let SourceKind::Local { path, exclude } = &declared.kind;
        let tree = scanned.sources.get(&declared.name.value)?;
        let digest_of = match tree.content {
            SourceContent::Folder(_) => DigestOf::ReapiV2Directory,
            SourceContent::File { .. } => DigestOf::File,
        };
        let whole = path.value.is_here() && exclude.is_empty();
        let fact = SourceFact {
            digest: tree.root().digest,
            digest_of,
            uri: (source.uri != "local").then(|| source.uri.clone()),
            git_commit: commit.clone(),
            git_tree: checkout.filter(|_| whole).and_then(|checkout| git_id(&checkout.git_tree)),
        };
        Some((declared.name.value.to_string(), fact))
    });
    let facts = facts.collect();
    let lock = new_lock.map(str::as_bytes).or(project.lock.as_deref());
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), Digest::of(bytes));
    Inputs {
        source,
        sources: facts,
        environments: environments
            .into_iter()
            .map(|(name, environment)| (name.to_string(), environment))
            .collect(),
        build_file: (from == Source::File).then(|| file(BUILD_FILE, &project.build_file)),
        lock: lock.filter(|_| from == Source::File).map(|bytes| file(LOCK_FILE, bytes)),
    }
}
