//! Links the compiler's unwinder into the binary, so that kiln needs libc and nothing else at run time.
//!
//! The standard library asks the linker for `libgcc_s`. A linker script of that name, first on the
//! search path, answers with the two archives that hold the same code; the compiler brings them beside
//! the shared library. A build script and not a `.cargo/config.toml`: RUSTFLAGS of whoever builds would
//! replace what stands there, and `cargo install` would not read it.
//!
//! Does nothing where libc is not the shared one of GNU: a static musl binary has its unwinder already.
#![allow(
    clippy::disallowed_methods,
    reason = "a build script is told by cargo's variables and writes where they say"
)]

use std::env;
use std::path::Path;

/// What stands in for the shared library: its exception handling and its arithmetic.
const ARCHIVES: &str = "INPUT(-l:libgcc_eh.a -l:libgcc.a)\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let target = (env::var("CARGO_CFG_TARGET_OS")?, env::var("CARGO_CFG_TARGET_ENV")?);
    if target == ("linux".to_owned(), "gnu".to_owned()) {
        let folder = env::var("OUT_DIR")?;
        std::fs::write(Path::new(&folder).join("libgcc_s.so"), ARCHIVES)?;
        println!("cargo::rustc-link-search=native={folder}");
    }
    Ok(())
}
