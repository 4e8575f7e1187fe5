//! `cargo xtask setup`: installs what building and testing need and reports what it did. It leaves
//! alone what is there already, so that every other chore can begin with it.

mod debian;
pub(crate) mod deny;
mod toolchain;

use std::process::Command;

use anyhow::{Result, bail};

use crate::sh;

/// A program that building or testing needs: its name, Debian's package, and what for.
struct Need {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const NEEDS: [Need; 18] = [
    Need { program: "cc", package: "gcc", purpose: "linking Rust programs" },
    Need { program: "nghttp", package: "nghttp2-client", purpose: "tests of HTTP/2" },
    Need { program: "nginx", package: "nginx-light", purpose: "tests, demo, bench" },
    Need { program: "wrk", package: "wrk", purpose: "load in tests and bench" },
    Need { program: "curl", package: "curl", purpose: "tests, demo" },
    Need { program: "/usr/bin/python3", package: "python3", purpose: "tests, demo" },
    Need { program: "node", package: "nodejs", purpose: "tests, demo" },
    Need { program: "java", package: "default-jdk-headless", purpose: "tests" },
    Need { program: "javac", package: "default-jdk-headless", purpose: "tests" },
    Need { program: "go", package: "golang-go", purpose: "tests" },
    Need { program: "ip", package: "iproute2", purpose: "network namespaces in tests" },
    Need { program: "nft", package: "nftables", purpose: "address translation in tests" },
    Need { program: "setpriv", package: "util-linux", purpose: "tests without privileges" },
    Need { program: "bpftool", package: "bpftool", purpose: "what tests find left in the kernel" },
    Need { program: "qemu-system-x86_64", package: "qemu-system-x86", purpose: "tests under other kernels" },
    Need { program: "busybox", package: "busybox-static", purpose: "tests under other kernels" },
    Need { program: "valgrind", package: "valgrind", purpose: "counting instructions in ci and bench" },
    Need { program: "xz", package: "xz-utils", purpose: "tests under other kernels" },
];

pub(crate) fn run() -> Result<()> {
    let missing: Vec<_> = NEEDS.iter().filter(|need| sh::which(need.program).is_none()).collect();
    if !missing.is_empty() {
        let lines: Vec<_> =
            missing.iter().map(|need| format!("{} ({})", need.program, need.purpose)).collect();
        println!("setup: missing: {}", lines.join(", "));
        if !debian::is_here() {
            bail!("this is no Debian: install these yourself, then run `cargo xtask setup` again");
        }
        debian::install(&missing.iter().map(|need| need.package).collect::<Vec<_>>())?;
    }
    toolchain::ensure()
}

/// Installs Debian packages that only one chore needs.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if !debian::is_here() {
        bail!("this is no Debian: install {} yourself", packages.join(", "));
    }
    if let Some(unknown) = packages.iter().find(|package| !debian::knows(package)) {
        bail!("apt knows no package {unknown}");
    }
    debian::install(packages)
}

/// The cargo of the BPF programs' compiler, with its clippy.
pub(crate) fn ebpf_cargo() -> Result<Command> {
    toolchain::cargo()
}

/// A C++ compiler, which only libFuzzer needs.
pub(crate) fn ensure_cxx() -> Result<()> {
    if sh::which("c++").is_some() {
        return Ok(());
    }
    if !debian::is_here() {
        bail!("the fuzzer needs a C++ compiler: install one as `c++`");
    }
    debian::install(&["g++"])
}
