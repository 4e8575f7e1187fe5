//! Installing Debian packages, as root or through sudo.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result};

use crate::sh;

/// Whether apt and Debian's (or a derivative's) packages are there.
pub(super) fn is_here() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let like = release.lines().filter(|line| line.starts_with("ID=") || line.starts_with("ID_LIKE="));
    like.into_iter().any(|line| line.contains("debian") || line.contains("ubuntu"))
        && sh::which("apt-get").is_some()
}

/// Installs packages without what they only recommend.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    // A web server that is installed for tests must not start serving. Debian asks policy-rc.d for
    // that.
    const SCRIPT: &str = r#"set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
"#;
    let packages: BTreeSet<_> = packages.iter().copied().collect();
    let names = packages.iter().copied().collect::<Vec<_>>().join(" ");
    println!("setup: installing Debian packages: {names}");
    let is_root = sh::output(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if is_root { Command::new("sh") } else { Command::new("sudo") };
    if !is_root {
        command.arg("sh");
    }
    command.args(["-c", SCRIPT, "install"]).args(&packages);
    sh::run(&mut command).with_context(|| format!("cannot install {names}; as root: apt-get install {names}"))
}

/// Whether apt knows a package of this name.
pub(super) fn knows(package: &str) -> bool {
    let policy = sh::output(Command::new("apt-cache").args(["policy", package])).unwrap_or_default();
    policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
}
