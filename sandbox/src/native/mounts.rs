//! File systems of the sandbox's own, made and not yet put anywhere: tmpfs, overlays, device nodes.
//!
//! Never follows a path of an input: overlays name places that we made, relative to the base.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, chmodat, utimensat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::apply::t0;
use super::lists;

/// Attributes of every mount: nothing on it gives privilege or is a device.
pub const PLAIN: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// What overlays that are never written to have beneath their one folder.
pub const NOTHING: &str = "blank-folder";

/// Makes a tmpfs.
pub fn tmpfs(bytes: u64, inodes: u64, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "size", bytes.to_string())?;
    fsconfig_set_string(&context, "nr_inodes", inodes.to_string())?;
    fsconfig_set_string(&context, "mode", "0755")?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// An overlay for changes. Paths are relative to the base, which is the working folder, so no name of an input is an option.
pub fn overlay_mount(lower: &str, upper: &str, work: &str) -> io::Result<OwnedFd> {
    overlay_of(&[("lowerdir", lower), ("upperdir", upper), ("workdir", work)], PLAIN)
}

/// An overlay without a place for changes, over a folder and, since the kernel wants two, over nothing.
pub fn own_mount(lower: &str) -> io::Result<OwnedFd> {
    let both = format!("{lower}:{NOTHING}");
    overlay_of(&[("lowerdir", &both)], PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn overlay_of(folders: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(&context, "userxattr")?;
    // `nofollow` is what `off` means where the kernel was not built to follow redirects all the same.
    let settings =
        [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")];
    for (key, value) in settings.iter().chain(folders) {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Makes device nodes that no other step has: the kernel keeps locks and watches by node. Only root can,
/// and only outside the step's user namespace, on whose file systems no node opens a device.
pub fn own_devices() -> io::Result<OwnedFd> {
    let mount = tmpfs(1 << 20, 64, PLAIN.difference(MountAttrFlags::MOUNT_ATTR_NODEV))?;
    for (name, major, minor) in lists::DEVICES {
        let (mode, number) = (Mode::from(0o666), rustix::fs::makedev(major, minor));
        rustix::fs::mknodat(&mount, name, FileType::CharacterDevice, mode, number)?;
        chmodat(&mount, name, mode, AtFlags::empty())?;
        utimensat(&mount, name, &t0(), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(mount)
}
