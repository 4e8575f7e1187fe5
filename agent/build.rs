//! Builds the BPF programs of `agent-ebpf` into `OUT_DIR/wirespan-bpf`, which the agent embeds.
//!
//! Two toolchains serve: a rustup nightly that has `rust-src`, or a stable compiler with its library source (Debian's
//! `rustc-web` pair, linked as the rustup toolchain `wirespan-bpf`) that is told to allow unstable flags.
//! `AYA_BUILD_SKIP=1` writes an empty file instead, for lints and documentation on a machine without either.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya_build::{Package, Toolchain};

/// The name under which `cargo xtask setup` links Debian's compiler.
const LINKED: &str = "wirespan-bpf";

fn main() -> ExitCode {
    match build() {
        Ok(code) => code,
        Err(err) => {
            // Cargo shows this as one line and leaves out the build script's own output.
            println!("cargo::error={err:#}");
            ExitCode::SUCCESS
        }
    }
}

fn build() -> Result<ExitCode> {
    for changed in ["build.rs", "../agent-common/Cargo.toml", "../agent-common/src", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={changed}");
    }
    println!("cargo::rerun-if-env-changed=AYA_BUILD_SKIP");
    let target = (env::var("CARGO_CFG_TARGET_OS")?, env::var("CARGO_CFG_TARGET_ARCH")?);
    if (target.0.as_str(), target.1.as_str()) != ("linux", "x86_64") {
        bail!("wirespan runs on x86-64 Linux only, {} on {} is not supported yet", target.0, target.1);
    }
    let skip = env::var("AYA_BUILD_SKIP").unwrap_or_default();
    if skip == "1" || skip.eq_ignore_ascii_case("true") {
        let stub = PathBuf::from(env::var("OUT_DIR")?).join(LINKED);
        fs::write(&stub, b"").with_context(|| format!("cannot write {}", stub.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    match env::args().nth(1) {
        None => Compiler::find()?.run_again(),
        Some(toolchain) => {
            let package = Package { name: "agent-ebpf", root_dir: "../agent-ebpf", ..Package::default() };
            aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

struct Compiler {
    /// The name that `rustup run` takes.
    toolchain: &'static str,
    /// Not a nightly: unstable flags must be allowed.
    stable: bool,
}

impl Compiler {
    /// The first compiler that can build the BPF target's `core`.
    fn find() -> Result<Self> {
        const SETUP: &str = "run `cargo xtask setup`, which installs what building the BPF programs needs";
        if !runs(Command::new("bpf-linker").arg("--version")) {
            bail!("bpf-linker is not installed: {SETUP}");
        }
        let rustup = |name: &str| {
            let mut command = Command::new("rustup");
            command.args(["run", name, "rustc"]);
            command
        };
        if !runs(Command::new("rustup").arg("--version")) {
            // Without rustup aya-build takes the compiler on PATH, whatever the name.
            return match has_library_source(Command::new("rustc")) {
                true => Ok(Self { toolchain: "path", stable: true }),
                false => Err(anyhow!("no Rust compiler with its library source was found: {SETUP}")),
            };
        }
        if has_library_source(rustup("nightly")) {
            Ok(Self { toolchain: "nightly", stable: false })
        } else if has_library_source(rustup(LINKED)) {
            Ok(Self { toolchain: LINKED, stable: true })
        } else {
            Err(anyhow!("no Rust compiler with its library source was found: {SETUP}"))
        }
    }

    /// Runs this build script again, to build with this compiler: aya-build hands its own environment on, and to change
    /// that from inside is `unsafe`.
    fn run_again(&self) -> Result<ExitCode> {
        let mut command = Command::new(env::current_exe()?);
        // Each line of the inner cargo would be shown as a warning.
        command.arg(self.toolchain).env("CARGO_TERM_QUIET", "true");
        if self.stable {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        match command.status()?.success() {
            true => Ok(ExitCode::SUCCESS),
            // The inner run has said why.
            false => Ok(ExitCode::FAILURE),
        }
    }
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Whether the compiler has the source of `core` beside it, which `-Z build-std` compiles.
fn has_library_source(mut rustc: Command) -> bool {
    let Ok(output) = rustc.args(["--print", "sysroot"]).output() else { return false };
    let Ok(sysroot) = String::from_utf8(output.stdout) else { return false };
    output.status.success()
        && Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}
