//! The compiler and the linker of the BPF programs; agent/build.rs looks for the same ones in the
//! same order.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, anyhow, bail};

use super::debian;
use crate::sh;

/// The rustup name of Debian's compiler.
const LINKED: &str = "wirespan-bpf";
const LINKER_VERSION: &str = "0.13.0";
/// The clippy of Debian's compiler.
const DEBIAN_CLIPPY: &str = "rust-web-clippy";
/// Debian's compiler with its library source.
const PAIR: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler that can build `core` for the BPF target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compiler {
    Nightly,
    /// Debian's, linked into rustup.
    Linked,
    /// No rustup here: the compiler on PATH.
    Path,
}

impl Compiler {
    /// The one that agent/build.rs takes, if there is one.
    fn found() -> Option<Self> {
        let order: &[Self] = if has_rustup() { &[Self::Nightly, Self::Linked] } else { &[Self::Path] };
        order.iter().copied().find(|compiler| compiler.has_library_source())
    }

    fn rustc(self) -> Command {
        self.tool("rustc")
    }

    /// A program of this compiler's toolchain.
    fn tool(self, name: &str) -> Command {
        let mut command = Command::new(if self == Self::Path { name } else { "rustup" });
        match self {
            Self::Nightly => drop(command.args(["run", "nightly", name])),
            Self::Linked => drop(command.args(["run", LINKED, name])),
            Self::Path => {}
        }
        command
    }

    /// Its cargo; one that is no nightly is told to allow unstable flags.
    fn cargo(self) -> Command {
        let mut command = self.tool("cargo");
        if self != Self::Nightly {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command.current_dir(sh::root());
        command
    }

    fn has_library_source(self) -> bool {
        let Ok(sysroot) = sh::output(self.rustc().args(["--print", "sysroot"])) else { return false };
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
    }

    /// The major version of the LLVM in it: bpf-linker must read its bitcode.
    fn llvm(self) -> Result<u32> {
        let version = sh::output(self.rustc().arg("-vV"))?;
        let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let major = llvm.and_then(|llvm| llvm.split('.').next()?.trim().parse().ok());
        major.ok_or_else(|| anyhow!("rustc -vV names no LLVM version"))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nightly => "rustup's nightly with rust-src",
            Self::Linked => "Debian's rustc-web, linked as the rustup toolchain wirespan-bpf",
            Self::Path => "the rustc on PATH, which has its library source",
        }
    }
}

/// Makes sure that a compiler and bpf-linker are there, and says which compiler is taken.
pub(super) fn ensure() -> Result<()> {
    let compiler = match Compiler::found() {
        Some(compiler) => compiler,
        None => install_compiler()?,
    };
    if !sh::succeeds(Command::new("bpf-linker").arg("--version")) {
        install_linker(compiler.llvm()?)?;
    }
    println!("setup: the BPF programs are built with {}", compiler.name());
    Ok(())
}

/// The cargo of the compiler that agent/build.rs takes; its clippy is installed where it is missing.
pub(super) fn cargo() -> Result<Command> {
    let compiler = Compiler::found().ok_or_else(|| anyhow!("no compiler for the BPF programs was found"))?;
    if !sh::succeeds(compiler.cargo().args(["clippy", "--version"])) {
        println!("setup: installing clippy for {}", compiler.name());
        match compiler {
            Compiler::Nightly => {
                let add = ["component", "add", "clippy", "--toolchain", "nightly"];
                sh::output(Command::new("rustup").args(add))?;
            }
            Compiler::Linked | Compiler::Path => super::install(&[DEBIAN_CLIPPY])?,
        }
    }
    Ok(compiler.cargo())
}

fn has_rustup() -> bool {
    sh::which("rustup").is_some()
}

fn install_compiler() -> Result<Compiler> {
    if has_rustup() {
        match install_nightly() {
            Ok(()) => return Ok(Compiler::Nightly),
            Err(err) => println!("setup: rustup's nightly does not serve: {err:#}"),
        }
    }
    if !debian::is_here() || !PAIR.iter().all(|package| debian::knows(package)) {
        bail!(
            "no compiler for the BPF programs: install a rustup nightly with rust-src, then run `cargo xtask setup` again"
        );
    }
    debian::install(&PAIR)?;
    if !has_rustup() {
        return Ok(Compiler::Path);
    }
    println!("setup: linking Debian's compiler as the rustup toolchain {LINKED}");
    sh::output(Command::new("rustup").args(["toolchain", "link", LINKED, "/usr"]))?;
    Ok(Compiler::Linked)
}

/// rustup's nightly with its library source, if a bpf-linker can be had for its LLVM.
fn install_nightly() -> Result<()> {
    if !sh::succeeds(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        println!("setup: installing rustup's nightly");
        let minimal = ["toolchain", "install", "nightly", "--profile", "minimal"];
        sh::output(Command::new("rustup").args(minimal))?;
    }
    let llvm = Compiler::Nightly.llvm()?;
    let has_linker = sh::succeeds(Command::new("bpf-linker").arg("--version"));
    if !has_linker && !has_llvm(llvm) && !debian::knows(&format!("llvm-{llvm}-dev")) {
        bail!("it needs LLVM {llvm} for bpf-linker, which is not packaged here");
    }
    println!("setup: installing rust-src for rustup's nightly");
    sh::output(Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", "nightly"]))?;
    if !Compiler::Nightly.has_library_source() {
        bail!("rust-src was installed, but its library source is not there");
    }
    Ok(())
}

/// Whether the library and the headers of this LLVM are installed.
fn has_llvm(major: u32) -> bool {
    Path::new(&llvm_prefix(major)).join("include/llvm").exists()
}

fn llvm_prefix(major: u32) -> String {
    format!("/usr/lib/llvm-{major}")
}

/// Builds bpf-linker against Debian's LLVM of the compiler's own version.
fn install_linker(llvm: u32) -> Result<()> {
    if !has_llvm(llvm) {
        let package = format!("llvm-{llvm}-dev");
        if !debian::is_here() || !debian::knows(&package) {
            bail!(
                "bpf-linker is missing: install version {LINKER_VERSION} built with LLVM {llvm} (cargo install bpf-linker)"
            );
        }
        // libclang and the C++ library's headers are not needed, LLVM's own dependencies are.
        debian::install(&[&package, "g++", "zlib1g-dev", "libzstd-dev"])?;
    }
    println!("setup: building bpf-linker {LINKER_VERSION} with LLVM {llvm} (about two minutes)");
    let feature = format!("llvm-{llvm}");
    let mut command = sh::cargo();
    command.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--quiet"]);
    command.args(["--no-default-features", "--features", &feature]).env("LLVM_PREFIX", llvm_prefix(llvm));
    // cargo's own variables would put the build into this workspace's target directory.
    command.env_remove("CARGO_TARGET_DIR");
    sh::run(&mut command).context("cannot install bpf-linker")
}
