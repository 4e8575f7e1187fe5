//! Debian's cloud kernels: fetched once by apt from the machine's own mirror, kept under
//! `target/vm`.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::sh;

/// A kernel that the tests know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// As in `uname -r`, e.g. "5.10".
    pub(crate) name: &'static str,
    /// The Debian suite that carries it, for machines whose own sources do not.
    suite: &'static str,
    /// The attach modes that it has, the one that it takes by itself first.
    pub(crate) attach_modes: &'static [&'static str],
}

pub(crate) const VERSIONS: [Version; 3] = [
    Version { name: "5.10", suite: "bullseye", attach_modes: &["fexit"] },
    Version { name: "6.1", suite: "bookworm", attach_modes: &["fexit"] },
    Version { name: "6.12", suite: "trixie", attach_modes: &["raw_tp", "fexit"] },
];

/// A kernel on disk.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// Uncompressed modules, in the order in which they must be loaded.
    pub(crate) modules: Vec<PathBuf>,
}

/// What the tests need and a cloud kernel has only as modules: sock_diag for the agent, veth for
/// network namespaces.
const MODULES: [&str; 4] = ["inet_diag", "tcp_diag", "veth", "tls"];

impl Version {
    pub(crate) fn named(name: &str) -> Result<Self> {
        VERSIONS.into_iter().find(|version| version.name == name).ok_or_else(|| {
            let known = VERSIONS.map(|version| version.name).join(", ");
            anyhow!("kernel {name} is not known, take one of {known}")
        })
    }

    /// The kernel on disk, fetched if it is not there.
    pub(crate) fn fetch(self) -> Result<Kernel> {
        let dir = sh::target().join("vm").join(self.name);
        let image = dir.join("vmlinuz");
        if !image.exists() {
            self.download(&dir).with_context(|| format!("cannot fetch kernel {}", self.name))?;
        }
        let modules = MODULES.iter().map(|module| dir.join(format!("{module}.ko")));
        Ok(Kernel { image, modules: modules.filter(|module| module.exists()).collect() })
    }

    fn download(self, dir: &Path) -> Result<()> {
        let work = dir.with_extension("work");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        let mut apt = Apt { options: Vec::new() };
        let package = match self.newest(&apt)? {
            Some(package) => package,
            None => {
                apt = Apt::private(self.suite, &work)?;
                self.newest(&apt)?.ok_or_else(|| anyhow!("suite {} has no such kernel", self.suite))?
            }
        };
        println!("vm: fetching {package}");
        sh::output(apt.command("apt-get").args(["download", &package]).current_dir(&work))?;
        let file = find(&work, &|name| name.starts_with(&package) && name.ends_with(".deb"))?;
        let root = work.join("root");
        sh::run(Command::new("dpkg").arg("-x").arg(&file).arg(&root))?;
        fs::rename(find(&root.join("boot"), &|name| name.starts_with("vmlinuz-"))?, work.join("vmlinuz"))?;
        for module in MODULES {
            // A module that is built in, or absent, is not in the package.
            let compressed = format!("{module}.ko.xz");
            let plain = format!("{module}.ko");
            if let Ok(found) = find(&root, &|name| name == compressed || name == plain) {
                unpack(&found, &work.join(plain))?;
            }
        }
        for rest in [root, file, work.join("lists"), work.join("cache")] {
            let _ = fs::remove_dir_all(&rest).or_else(|_| fs::remove_file(&rest));
        }
        fs::rename(&work, dir).context("cannot keep the kernel")
    }

    /// The newest package of this kernel that apt knows.
    fn newest(self, apt: &Apt) -> Result<Option<String>> {
        let prefix = format!("linux-image-{}", self.name);
        let names = sh::output(apt.command("apt-cache").args(["pkgnames", &prefix]))?;
        let same_series = |name: &&str| name[prefix.len()..].starts_with(['.', '-']);
        let cloud = names.lines().filter(|name| name.ends_with("-cloud-amd64-unsigned"));
        Ok(cloud.filter(same_series).max_by(|a, b| compare_numbers(a, b)).map(str::to_owned))
    }
}

/// apt, with the machine's configuration and sources, or with one suite more of the same mirror.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    /// A private state directory with one suite from the mirror that serves the machine's own
    /// release.
    fn private(suite: &str, dir: &Path) -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release")?;
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let codename = codename.ok_or_else(|| anyhow!("/etc/os-release has no VERSION_CODENAME"))?;
        let targets = sh::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(RELEASE) $(ORIGIN) $(REPO_URI)",
            "Created-By: Packages",
        ]))?;
        let mirror = targets.lines().find_map(|line| line.strip_prefix(&format!("{codename} Debian ")));
        let Some(mirror) = mirror else {
            bail!("the machine's apt sources name no Debian mirror for {codename}")
        };
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let sources = dir.join("sources.list");
        fs::write(&sources, format!("deb [signed-by={keyring}] {mirror} {suite} main\n"))?;
        for state in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(state))?;
        }
        let options = [
            format!("-oDir::Etc::sourcelist={}", sources.display()),
            "-oDir::Etc::sourceparts=-".to_owned(),
            format!("-oDir::State::lists={}", dir.join("lists").display()),
            format!("-oDir::Cache={}", dir.join("cache").display()),
            "-oAPT::Sandbox::User=root".to_owned(),
            // Fetch only the package lists, no translations and no application metadata.
            "-oAcquire::Languages=none".to_owned(),
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        let apt = Self { options: options.into() };
        println!("vm: reading the package list of {suite}");
        sh::output(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }
}

fn unpack(module: &Path, to: &Path) -> Result<()> {
    if module.extension().is_some_and(|extension| extension == "xz") {
        let plain = fs::File::create(to)?;
        return sh::run(Command::new("xz").arg("-dc").arg(module).stdout(plain));
    }
    fs::copy(module, to).map(drop).with_context(|| format!("cannot copy {}", module.display()))
}

/// The first file below `dir` whose name passes.
fn find(dir: &Path, passes: &dyn Fn(&str) -> bool) -> Result<PathBuf> {
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if entry.file_name().to_str().is_some_and(passes) {
                return Ok(entry.path());
            }
        }
    }
    bail!("the file that was looked for is not below {}", dir.display())
}

/// Compares the numbers in two names, in order: 6.12.107 is newer than 6.12.9.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let numbers = |name: &str| -> Vec<u64> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_is_by_number_not_by_letter() {
        assert_eq!(compare_numbers("linux-6.12.9+deb12", "linux-6.12.107+deb12"), Ordering::Less);
        assert_eq!(compare_numbers("linux-5.10.0-30", "linux-5.10.0-4"), Ordering::Greater);
    }

    #[test]
    fn unknown_kernel_names_the_known() {
        let err = Version::named("4.4").unwrap_err().to_string();
        assert!(err.contains("5.10, 6.1, 6.12"), "{err}");
    }
}
