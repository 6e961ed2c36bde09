//! The namespaces: what is the step's own instead of the host's. Here the network is switched off.
//!
//! The time namespace is made by `unshare` before anything is inside it, since only then can its
//! clocks be shifted. The id map is one id, 1000:1000 inside, in root and rootless mode alike, so
//! that a `chown` fails alike in both and digests agree.
//!
//! Runs in the sandbox child only. See namespaces(7), user_namespaces(7), time_namespaces(7).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use model::step::Widen;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};
use rustix::time::{ClockId, clock_gettime};

use super::error::{Doing, Failure, Naming};
use super::{lists, sys};

/// The one user and group inside.
const INNER_ID: u32 = 1000;
/// The one user and group inside a step with the option `fakeroot`.
const INNER_ROOT: u32 = 0;
/// The host name inside.
pub const HOST_NAME: &str = "localhost";
/// The domain inside: the kernel's own word for none.
pub const DOMAIN_NAME: &str = "(none)";

/// Where the offsets of the time namespace are told and set that a process starts others in.
const OFFSETS: &str = "/proc/self/timens_offsets";
/// Most seconds that a step's clocks since start may show before it runs: as long as the set-up may take.
const CLOCK_SECONDS_MAX: i64 = 60;

/// Returns the one user and group inside.
pub fn inner_id(widen: Widen) -> u32 {
    if widen.fakeroot { INNER_ROOT } else { INNER_ID }
}

/// Gives up root for the ids of the step's user on the host.
pub fn drop_ids(outer: (u32, u32)) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(outer.0), Gid::from_raw(outer.1));
    setgroups(&[]).or_fail(Doing::DropIds, "groups")?;
    setresgid(gid, gid, gid).or_fail(Doing::DropIds, "group")?;
    setresuid(uid, uid, uid).or_fail(Doing::DropIds, "user")?;
    // Changing ids made this process undumpable, and then its own id map belongs to root. It is
    // closed again in the first process before the step exists.
    set_dumpable_behavior(DumpableBehavior::Dumpable).or_fail(Doing::DropIds, "dumpable")
}

/// Returns a user namespace that maps `on_disk` to `shown`, for mounts that show the one as the other. It holds
/// no process: the one that it was made with is dead.
pub fn showing(on_disk: (u32, u32), shown: (u32, u32)) -> io::Result<OwnedFd> {
    let own = rustix::process::getpid();
    let (twin, number) = sys::fork_into_user_namespace()?;
    if let sys::Twin::New = twin {
        let tied = set_parent_process_death_signal(Some(Signal::KILL));
        while tied.is_ok() && rustix::process::getppid() == Some(own) {
            nix::unistd::pause();
        }
        sys::exit_now(0);
    }
    let made = (|| {
        put(&format!("/proc/{number}/uid_map"), &format!("{} {} 1\n", on_disk.0, shown.0))?;
        put(&format!("/proc/{number}/gid_map"), &format!("{} {} 1\n", on_disk.1, shown.1))?;
        Ok(File::open(format!("/proc/{number}/ns/user"))?.into())
    })();
    let twin = nix::unistd::Pid::from_raw(number);
    nix::sys::signal::kill(twin, nix::sys::signal::Signal::SIGKILL)?;
    nix::sys::wait::waitpid(twin, None)?;
    made
}

/// Makes all namespaces but that of control groups; the next process started is the first of the new pid namespace.
pub fn enter(widen: Widen, may_miss_network: bool) -> Result<(), Failure> {
    let inner = inner_id(widen);
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let time = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
    // A kernel without time namespaces (before 5.6, or built so) refuses the pair, not the user one.
    let shifted = match unshare(CloneFlags::CLONE_NEWUSER | time) {
        Ok(()) => true,
        Err(nix::errno::Errno::EINVAL) => {
            unshare(CloneFlags::CLONE_NEWUSER).or_fail(Doing::UserNamespace, "")?;
            false
        }
        Err(cause) => return Err(Doing::UserNamespace.failed("", &cause.into())),
    };
    put("/proc/self/setgroups", "deny").or_fail(Doing::IdMap, "setgroups")?;
    put("/proc/self/uid_map", &format!("{inner} {uid} 1\n")).or_fail(Doing::IdMap, "uid_map")?;
    put("/proc/self/gid_map", &format!("{inner} {gid} 1\n")).or_fail(Doing::IdMap, "gid_map")?;
    if shifted {
        let offsets = offsets().or_fail(Doing::ClockOffsets, "")?;
        put(OFFSETS, &offsets).or_fail(Doing::ClockOffsets, "")?;
    }
    unshare(CloneFlags::CLONE_NEWNS).or_fail(Doing::MountNamespace, "")?;
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => {}
        Err(_) if may_miss_network => {}
        Err(cause) => return Err(Doing::NetworkNamespace.failed("", &cause.into())),
    }
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC)
        .or_fail(Doing::PidNamespace, "")?;
    unshare(CloneFlags::CLONE_NEWUTS).or_fail(Doing::NameNamespaces, "host name")
}

/// Makes the control-group namespace, whose root is the group that this process is in at this moment.
/// So it comes after the admission: earlier, `/proc/self/cgroup` would tell the group's name, or not,
/// by whoever was faster.
pub fn enter_group() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWCGROUP).or_fail(Doing::NameNamespaces, "control group")
}

/// Ceilings that were set, each open to be read back: looking one up costs more than all that is done with it.
pub struct Ceilings(Vec<(File, u32)>);

/// Lets the step's user namespace hold only so much of what the kernel counts by user, and no namespaces
/// unless it is nested: the step has no use for them, and each widens the kernel's surface.
pub fn set_ceilings(nested: bool) -> Result<Ceilings, Failure> {
    let mut set = Vec::new();
    for (name, most) in lists::ceilings(nested) {
        let path = format!("/proc/sys/user/{name}");
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            // Kernels differ in what they count.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.or_fail(Doing::NoMoreNamespaces, name)?,
        };
        file.write_all(format!("{most}\n").as_bytes()).or_fail(Doing::NoMoreNamespaces, name)?;
        set.push((file, most));
    }
    Ok(Ceilings(set))
}

impl Ceilings {
    /// Says whether the kernel tells every ceiling as it was set.
    pub fn hold(&self) -> bool {
        self.0.iter().all(|(file, most)| {
            let mut text = [0; 16];
            let read = file.read_at(&mut text, 0).ok().and_then(|count| text.get(..count));
            let told = read.and_then(|text| std::str::from_utf8(text).ok());
            told.is_some_and(|told| told.trim().parse() == Ok(*most))
        })
    }
}

/// Sets the fixed names.
pub fn set_names() -> Result<(), Failure> {
    rustix::system::sethostname(HOST_NAME.as_bytes()).or_fail(Doing::HostName, HOST_NAME)?;
    rustix::system::setdomainname(DOMAIN_NAME.as_bytes()).or_fail(Doing::HostName, DOMAIN_NAME)
}

/// Switches the private loopback on. It is the only interface there is.
pub fn loopback() -> Result<(), Failure> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .or_fail(Doing::Loopback, "")?;
    sys::loopback_up(std::os::fd::AsFd::as_fd(&socket)).or_fail(Doing::Loopback, "lo")
}

/// Says whether both clocks since start are as young as this process, which the set-up has bounded.
pub fn clocks_are_new() -> bool {
    [ClockId::Monotonic, ClockId::Boottime]
        .into_iter()
        .all(|clock| (0..=CLOCK_SECONDS_MAX).contains(&clock_gettime(clock).tv_sec))
}

/// Returns offsets that let both clocks start near zero: whole seconds, so never below it.
///
/// They are written against the clocks of the machine. Ours may be shifted themselves, where kiln was started in
/// a time namespace; the new namespace begins with the same offsets, which the kernel tells here.
fn offsets() -> io::Result<String> {
    let inherited = std::fs::read_to_string(OFFSETS)?;
    let line = |name, clock| {
        let now = clock_gettime(clock);
        let offset = whole_offset(&inherited, name, (now.tv_sec, now.tv_nsec))?;
        Some(format!("{name} {offset} 0\n"))
    };
    let lines = line("monotonic", ClockId::Monotonic).zip(line("boottime", ClockId::Boottime));
    let (monotonic, boot) = lines.ok_or(io::ErrorKind::InvalidData)?;
    Ok(monotonic + &boot)
}

/// Returns the offset of a clock that reads `now` under the offsets that `inherited` tells, such that it is less
/// than a second past zero. Each line there is a name, seconds of either sign, and nanoseconds to add.
fn whole_offset(inherited: &str, name: &str, now: (i64, i64)) -> Option<i64> {
    let mut words = inherited.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then_some(words)
    })?;
    let (seconds, nanoseconds): (i64, i64) =
        (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let machine = now.0.checked_sub(seconds)?.checked_sub(i64::from(now.1 < nanoseconds))?;
    machine.checked_neg()
}

/// Writes one control file of the kernel's in one call.
fn put(path: &str, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::whole_offset;

    #[test]
    fn offsets_count_from_the_clocks_of_the_machine() {
        let told = |seconds: i64, nanoseconds: i64| {
            format!("monotonic           7         0\nboottime   {seconds:>10} {nanoseconds:>9}\n")
        };
        for ((seconds, nanoseconds), now, want) in [
            ((0, 0), (5000, 1), Some(-5000)),
            ((-1000, 0), (4000, 1), Some(-5000)),
            ((1000, 0), (6000, 0), Some(-5000)),
            // The machine shows 4999.999999999, and no clock may be before zero.
            ((1000, 2), (6000, 1), Some(-4999)),
            ((i64::MIN, 0), (1, 0), None),
        ] {
            assert_eq!(whole_offset(&told(seconds, nanoseconds), "boottime", now), want);
        }
        assert_eq!(whole_offset("boottime 0\n", "boottime", (1, 0)), None);
        assert_eq!(whole_offset("", "monotonic", (1, 0)), None);
    }
}
