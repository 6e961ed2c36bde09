//! What the option `nested` adds to the allow-list: namespaces, and mounts inside them.
//!
//! For programs that make sandboxes of their own (bwrap, browsers, other build tools) under test. The
//! step still has no capability in its own user namespace, so each of these calls fails there as before;
//! they work in a namespace that the step makes. What kiln mounted is locked there by the kernel: it can
//! be neither uncovered nor made writable (mount_namespaces(7), "Restrictions").
//!
//! Owners are the step's own to name as well, since its namespaces map ids of their own.
//!
//! Sorted. Profile `kiln/1`.

// Calls that the `libc` crate has no name for yet; one number on every architecture.
const SYS_STATMOUNT: libc::c_long = 457;
const SYS_LISTMOUNT: libc::c_long = 458;
const SYS_OPEN_TREE_ATTR: libc::c_long = 467;

/// Calls that are allowed with any argument, whatever `groups.rs` says of them.
pub const ALLOWED: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    libc::SYS_chroot,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    SYS_LISTMOUNT,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_pivot_root,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    SYS_STATMOUNT,
    libc::SYS_umount2,
    libc::SYS_unshare,
];
