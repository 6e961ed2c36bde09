//! Watches what a step writes into a folder of the host, and what that leaves of the disk.
//!
//! Ten times a second it looks at the free space of the file system, which is one call. Only when that
//! has shrunk by a good part of what the step may still write, or after a while, does a thread walk
//! the folder and add up what really lies there; a short step that writes little has one at its end. The
//! step goes on meanwhile, so the sum is of no one moment; a step may be ahead of it by what it writes
//! in one look and one walk. The thread is there before the step is, which may leave nobody another one.
//!
//! A file counts by its blocks, shared out among its names, so that a hard link costs nothing and a
//! sparse file what it really takes. Never follows a symlink; never leaves the folder.
//!
//! While the step lives, nothing but reading: a folder that its owner closed to kiln is passed over. Once
//! the step is dead such folders get their owner's rights for as long as they are walked, and all is walked
//! once more, whatever was seen before. More than [`DEPTH_MAX`] folders inside one another end the step, so that no walk is without
//! end.
//!
//! Does not catch: a file that has no name, or none any more, while the step lives. For that, and for everything
//! else that fills the disk, there is the reserve: when it is touched the step is killed at once.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmodat, fchmod, fstatvfs, openat, statat,
};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::space;

/// Stack of the walking thread, in bytes; it does not recurse.
const STACK_BYTES: usize = 1 << 20;
/// Time between two looks at the free space.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest time without a walk, since free space may be given back by others while the step takes it.
const WALK_EVERY: Duration = Duration::from_secs(2);
/// A walk may take this share of the time: one in so many.
const WALK_SHARE: u32 = 10;
/// A walk is due when this share of what is left may have been written: one in so many.
const ROOM_SHARE: u64 = 4;
/// How many folders of a walk stay open from the bottom up, and how many more above, one in so many.
const OPEN_MAX: usize = 64;
/// How many folders may lie inside one another. No path is longer than 4,096 bytes (`PATH_MAX`), so no build
/// nests deeper; a tree that does is made to be slow to walk. Also what [`close_far`] is made for.
const DEPTH_MAX: usize = OPEN_MAX * OPEN_MAX;
/// Size of the unit that `st_blocks` counts in (stat(2)).
const BLOCK_BYTES: u64 = 512;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// What the step may write.
    Limit,
    /// What is kept of the host's disk.
    Reserve,
    /// Nothing: folders lie inside one another deeper than is walked.
    Depth,
}

/// What lies in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    bytes: u64,
    inodes: u64,
    /// Folders lie deeper than is walked.
    deep: bool,
    /// A folder was passed over since its owner closed it.
    closed: bool,
}

/// Whether anything of the step may still run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Alive,
    Dead,
}

/// What is left of a file system.
#[derive(Clone, Copy, Debug)]
struct Room {
    bytes: u64,
    inodes: u64,
    reserve: u64,
    inodes_reserve: u64,
}

/// Looks at the disk while a step runs.
#[derive(Debug)]
pub struct Watcher {
    folder: OwnedFd,
    most: Used,
    /// What the last walk found, when that was, how long it took, and what was free then.
    used: Used,
    walked: Instant,
    took: Duration,
    before: Room,
    next_look: Instant,
    walker: Walker,
    /// What was free when the walk began that is under way.
    under_way: Option<Room>,
}

/// Who walks, in a thread of its own: output and time limits must not wait for it.
#[derive(Debug)]
struct Walker {
    /// Each word begins a walk; none any more ends the thread.
    ask: Option<Sender<()>>,
    walked: Receiver<(io::Result<Used>, Duration)>,
    /// Has a byte for each walk that is over.
    over: OwnedFd,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Begins to watch a folder, with a first look at what is free.
    ///
    /// # Errors
    /// When the folder cannot be opened, or no thread can be started.
    pub fn start(folder: &Path, bytes: u64) -> io::Result<Watcher> {
        let folder = openat(CWD, folder, FOLDER, Mode::empty())?;
        let (most, now) = (limit(bytes), Instant::now());
        let walker = Walker::start(&folder, most)?;
        Ok(Watcher {
            most,
            used: Used::default(),
            walked: now,
            took: Duration::ZERO,
            before: room(&folder)?,
            next_look: now + LOOK_EVERY,
            walker,
            under_way: None,
            folder,
        })
    }

    /// Returns when the next look is due.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Returns what is readable once a walk is over.
    pub fn walk_over(&self) -> Option<BorrowedFd<'_>> {
        self.under_way.map(|_| self.walker.over.as_fd())
    }

    /// Looks, if it is time to; returns what ran out.
    ///
    /// # Errors
    /// When the disk could not be looked at: then nothing is bounded.
    pub fn look(&mut self) -> io::Result<Option<Full>> {
        if let Some(before) = self.under_way
            && self.walker.is_done()?
        {
            self.under_way = None;
            let (used, took) = self.walker.end()?;
            if let Some(full) = self.note(used?, took, before) {
                return Ok(Some(full));
            }
        }
        if Instant::now() < self.next_look {
            return Ok(None);
        }
        self.next_look = Instant::now() + LOOK_EVERY;
        let now = room(&self.folder)?;
        if now.is_touched() {
            return Ok(Some(Full::Reserve));
        }
        let due = self.walked.elapsed() >= WALK_EVERY.max(self.took * WALK_SHARE);
        let is_due = due || may_be_full(self.used, self.most, self.before, now);
        if self.under_way.is_none() && is_due {
            self.walker.begin()?;
            self.under_way = Some(now);
        }
        Ok(None)
    }

    /// Takes the last look, now that the step is dead. It always counts all that is there: a file that was
    /// written without a name (`O_TMPFILE`) and given one at the end moves no free space then. It counts
    /// what is captured next, so it costs no more than that.
    ///
    /// # Errors
    /// As [`Watcher::look`].
    pub fn finish(mut self) -> io::Result<Option<Full>> {
        let now = room(&self.folder)?;
        if now.is_touched() {
            return Ok(Some(Full::Reserve));
        }
        if self.under_way.take().is_some() {
            self.walker.stop.store(true, Ordering::Relaxed);
            self.walker.end()?.0?;
        }
        let used = walk(&self.folder, self.most, Step::Dead, &AtomicBool::new(false))?;
        match self.note(used, Duration::ZERO, now) {
            None if used.closed => Err(Errno::ACCESS.into()),
            full => Ok(full),
        }
    }

    /// Takes down what a walk found; returns what there is too much of.
    fn note(&mut self, used: Used, took: Duration, room: Room) -> Option<Full> {
        (self.used, self.took, self.before, self.walked) = (used, took, room, Instant::now());
        let why = if used.deep { Full::Depth } else { Full::Limit };
        used.is_beyond(self.most).then_some(why)
    }
}

impl Walker {
    fn start(folder: &OwnedFd, most: Used) -> io::Result<Walker> {
        let folder = openat(folder, ".", FOLDER, Mode::empty())?;
        let (over, tell) = pipe_with(PipeFlags::CLOEXEC)?;
        let (ask, asked) = channel::<()>();
        let (told, walked) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            for () in asked {
                let start = Instant::now();
                let used = walk(&folder, most, Step::Alive, &stopped);
                // Whoever asked is gone only at the end. A byte of his pipe wakes him up.
                let _ = told.send((used, start.elapsed()));
                let _ = rustix::io::write(&tell, b"x");
            }
        };
        let thread =
            std::thread::Builder::new().name("disk watcher".to_owned()).stack_size(STACK_BYTES);
        Ok(Walker { ask: Some(ask), walked, over, stop, thread: Some(thread.spawn(work)?) })
    }

    fn begin(&self) -> io::Result<()> {
        let asked = self.ask.as_ref().map(|ask| ask.send(()));
        asked.and_then(Result::ok).ok_or(io::ErrorKind::Other.into())
    }

    /// Says whether the walk that was begun is over.
    fn is_done(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.over, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&Timespec::default()))? > 0)
    }

    /// Waits for the end of the walk that was begun.
    fn end(&self) -> io::Result<(io::Result<Used>, Duration)> {
        let walked = self.walked.recv().map_err(|_| io::Error::from(io::ErrorKind::Other))?;
        rustix::io::read(&self.over, &mut [0])?;
        Ok(walked)
    }
}

/// Also on a path that failed for another reason, which is the one that is told.
impl Drop for Walker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Used {
    fn is_beyond(self, most: Used) -> bool {
        self.deep || self.bytes > most.bytes || self.inodes > most.inodes
    }
}

impl Room {
    fn is_touched(self) -> bool {
        self.bytes < self.reserve || self.inodes < self.inodes_reserve
    }
}

fn limit(bytes: u64) -> Used {
    Used { bytes, inodes: space::inodes(bytes), ..Used::default() }
}

/// Says whether a good part of what was left at the last walk is gone from the disk since.
fn may_be_full(used: Used, most: Used, before: Room, now: Room) -> bool {
    let gone = |before: u64, now: u64, left: u64| before.saturating_sub(now) > left / ROOM_SHARE;
    gone(before.bytes, now.bytes, most.bytes.saturating_sub(used.bytes))
        || gone(before.inodes, now.inodes, most.inodes.saturating_sub(used.inodes))
}

fn room(folder: &OwnedFd) -> io::Result<Room> {
    let room = fstatvfs(folder)?;
    // Some file systems have no fixed number of inodes and say 0.
    let (all, free) = if room.f_files == 0 { (0, u64::MAX) } else { (room.f_files, room.f_favail) };
    Ok(Room {
        bytes: room.f_bavail.saturating_mul(room.f_frsize),
        inodes: free,
        reserve: space::reserve(room.f_blocks.saturating_mul(room.f_frsize)),
        inodes_reserve: all / 100,
    })
}

/// A folder on the way down, and the folders in it that are still to be walked.
struct Level {
    open: Option<OwnedFd>,
    left: Vec<Below>,
    name: CString,
    /// The mode that it is to have again when it was walked.
    closed: Option<Mode>,
}

/// A folder that is still to be walked, and its mode where its owner cannot walk it.
struct Below {
    name: CString,
    closed: Option<Mode>,
}

/// Adds up what lies in a folder; stops as soon as it is more than `most`.
///
/// The step goes on meanwhile: a name that is gone, or is something else now, is passed over.
fn walk(folder: &OwnedFd, most: Used, step: Step, stop: &AtomicBool) -> io::Result<Used> {
    let mut used = Used::default();
    let top = openat(folder, ".", FOLDER, Mode::empty())?;
    let left = add_up(&top, &mut used, most, step)?;
    let mut levels = vec![Level { open: Some(top), left, name: CString::default(), closed: None }];
    while let Some(level) = levels.last_mut() {
        if used.is_beyond(most) || stop.load(Ordering::Relaxed) {
            break;
        }
        let Some(Below { name, closed }) = level.left.pop() else {
            close_again(folder, &mut levels)?;
            continue;
        };
        if level.open.is_none() {
            let found = reopen(folder, &levels);
            levels.last_mut().map(|level| level.open = found).unwrap_or_default();
        }
        let here = levels.last().and_then(|level| level.open.as_ref());
        if let (Some(here), Some(mode)) = (here, closed) {
            chmodat(here, &name, mode | Mode::RWXU, AtFlags::empty())?;
        }
        let below = here.map(|here| openat(here, &name, FOLDER, Mode::empty()));
        let below = match below {
            Some(Ok(below)) => below,
            Some(Err(cause)) => {
                used.closed |= cause == Errno::ACCESS;
                continue;
            }
            None => continue,
        };
        let left = add_up(&below, &mut used, most, step)?;
        levels.push(Level { open: Some(below), left, name, closed });
        if levels.len() > DEPTH_MAX {
            used.deep = true;
            break;
        }
        close_far(&mut levels);
    }
    Ok(used)
}

/// Lets go of a level far above: what is still to be walked there is known by name. Some stay open, so
/// that the way back down is short.
fn close_far(levels: &mut [Level]) {
    let Some(far) = levels.len().checked_sub(OPEN_MAX) else { return };
    let stays = far % OPEN_MAX == 0 && far / OPEN_MAX < OPEN_MAX;
    if let Some(level) = levels.get_mut(far).filter(|_| !stays) {
        level.open = None;
    }
}

/// Opens the last level again, from the nearest one above that is open; none if it is gone.
fn reopen(folder: &OwnedFd, levels: &[Level]) -> Option<OwnedFd> {
    let from = levels.iter().rposition(|level| level.open.is_some());
    let open = from.and_then(|from| levels.get(from)).and_then(|level| level.open.as_ref());
    let mut here = openat(open.unwrap_or(folder), ".", FOLDER, Mode::empty()).ok()?;
    for level in levels.iter().skip(from.unwrap_or(0) + 1) {
        here = openat(&here, &level.name, FOLDER, Mode::empty()).ok()?;
    }
    Some(here)
}

/// Leaves the last level, and gives it the mode back that it had. An overlay above remembers modes: it would
/// show the new one and keep to the old one.
fn close_again(folder: &OwnedFd, levels: &mut Vec<Level>) -> io::Result<()> {
    let mode = levels.last().and_then(|level| level.closed);
    if let Some(mode) = mode {
        let open = levels.last_mut().and_then(|level| level.open.take());
        if let Some(open) = open.or_else(|| reopen(folder, levels)) {
            fchmod(&open, mode)?;
        }
    }
    levels.pop();
    Ok(())
}

/// Counts the entries of one folder; returns those that are folders.
fn add_up(folder: &OwnedFd, used: &mut Used, most: Used, step: Step) -> io::Result<Vec<Below>> {
    let mut folders = Vec::new();
    let entries = match Dir::read_from(folder) {
        Ok(entries) => entries,
        Err(cause) => {
            used.closed |= cause == Errno::ACCESS;
            return Ok(folders);
        }
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(cause) => {
                used.closed |= cause == Errno::ACCESS;
                continue;
            }
        };
        let bytes = stat.st_blocks.cast_unsigned().saturating_mul(BLOCK_BYTES);
        used.inodes += 1;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            used.bytes += bytes;
            let closed = closed(&stat).filter(|_| step == Step::Dead);
            folders.push(Below { name: name.to_owned(), closed });
        } else {
            // The number of names is of this type on some machines and of another on others.
            #[allow(clippy::useless_conversion, reason = "u32 or u64, by architecture")]
            let names: u64 = stat.st_nlink.into();
            used.bytes += bytes / names.max(1);
        }
        if used.inodes > most.inodes {
            break;
        }
    }
    Ok(folders)
}

/// Returns the mode of a folder of our own user that lacks its owner's rights. Its name is no link: it was
/// looked at, and whoever could change that is dead.
fn closed(stat: &Stat) -> Option<Mode> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    (ours && !mode.contains(Mode::RUSR | Mode::XUSR)).then_some(mode)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests lay out files")]
mod tests {
    use super::*;
    use std::fs;

    const NO_END: Used = Used { bytes: u64::MAX, inodes: u64::MAX, deep: false, closed: false };

    fn walked(path: &Path, most: Used) -> Used {
        let folder = openat(CWD, path, FOLDER, Mode::empty()).expect("a folder");
        walk(&folder, most, Step::Alive, &AtomicBool::new(false)).expect("a walk")
    }

    #[test]
    fn a_walk_counts_blocks_once_and_links_and_holes_not_at_all() {
        let top = tempfile::tempdir().expect("a folder");
        let empty = walked(top.path(), NO_END);
        assert_eq!(empty, Used::default());
        fs::create_dir_all(top.path().join("a/b")).expect("folders");
        fs::write(top.path().join("a/b/f"), vec![1; 1 << 20]).expect("a file");
        let one = walked(top.path(), NO_END);
        assert!((1 << 20..2 << 20).contains(&one.bytes), "{one:?}");
        assert_eq!(one.inodes, 3);
        fs::hard_link(top.path().join("a/b/f"), top.path().join("twin")).expect("a link");
        std::os::unix::fs::symlink("/", top.path().join("out")).expect("a link");
        let hole = fs::File::create(top.path().join("hole")).expect("a file");
        hole.set_len(1 << 40).expect("a length");
        let more = walked(top.path(), NO_END);
        assert!(more.bytes < one.bytes + (64 << 10), "{one:?} {more:?}");
        assert_eq!(more.inodes, 6);
    }

    #[test]
    fn a_walk_goes_deeper_than_it_holds_open_and_stops_at_the_limit() {
        let top = tempfile::tempdir().expect("a folder");
        let mut here = openat(CWD, top.path(), FOLDER, Mode::empty()).expect("a folder");
        for _ in 0..5 * OPEN_MAX {
            for name in ["a", "z"] {
                rustix::fs::mkdirat(&here, name, Mode::RWXU).expect("a folder");
            }
            here = openat(&here, "a", FOLDER, Mode::empty()).expect("a folder");
        }
        assert_eq!(walked(top.path(), NO_END).inodes, 10 * OPEN_MAX as u64);
        let most = Used { inodes: 100, ..NO_END };
        assert_eq!(walked(top.path(), most).inodes, 101);
    }

    #[test]
    fn a_tree_that_is_too_deep_is_over_every_limit_and_walked_no_further() {
        let top = tempfile::tempdir().expect("a folder");
        let mut here = openat(CWD, top.path(), FOLDER, Mode::empty()).expect("a folder");
        for depth in 0..DEPTH_MAX + 50 {
            if depth == DEPTH_MAX - 1 {
                assert!(!walked(top.path(), NO_END).is_beyond(NO_END), "as deep as may be");
            }
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).expect("a folder");
            here = openat(&here, "d", FOLDER, Mode::empty()).expect("a folder");
        }
        let used = walked(top.path(), NO_END);
        assert!(used.is_beyond(NO_END) && used.deep);
        assert_eq!(used.inodes, DEPTH_MAX as u64 + 1);
        // The tree is deeper than what removes the folder may want to recurse into.
        let gone = std::process::Command::new("rm").arg("-rf").arg(top.path()).status();
        assert!(gone.is_ok_and(|end| end.success()));
    }

    #[test]
    fn what_no_walk_saw_is_counted_at_the_end_whatever_is_free() {
        let top = tempfile::tempdir().expect("a folder");
        for (closed, under_way) in [(true, false), (false, true), (false, false)] {
            let mut watcher = Watcher::start(top.path(), 1 << 20).expect("a watcher");
            fs::write(top.path().join("f"), vec![1; 4 << 20]).expect("a file");
            rustix::fs::syncfs(&watcher.folder).expect("blocks");
            // As a walk leaves it that was after the file: nothing is gone from the disk since.
            let after = Room { bytes: 0, inodes: 0, ..room(&watcher.folder).expect("room") };
            watcher.note(Used { closed, ..Used::default() }, Duration::ZERO, after);
            // One that the end of the step cut short has seen nothing that counts.
            if under_way {
                watcher.walker.begin().expect("a walk");
                watcher.under_way = Some(after);
            }
            let found = watcher.finish().expect("a last look");
            // Without either it is as one that had no name when the last walk came by.
            assert_eq!(found, Some(Full::Limit), "closed: {closed}, a walk under way: {under_way}");
        }
    }

    #[test]
    fn a_walk_is_due_when_a_part_of_the_rest_is_gone() {
        let room = |bytes| Room { bytes, inodes: 1 << 20, reserve: 0, inodes_reserve: 0 };
        let most = Used { bytes: 1000, inodes: 1 << 20, ..NO_END };
        let used = |bytes| Used { bytes, inodes: 0, ..NO_END };
        assert!(!may_be_full(used(0), most, room(5000), room(4800)));
        assert!(may_be_full(used(0), most, room(5000), room(4700)));
        assert!(may_be_full(used(900), most, room(5000), room(4970)));
        // Others may give space back meanwhile; then only time makes it due.
        assert!(!may_be_full(used(900), most, room(5000), room(6000)));
    }
}
