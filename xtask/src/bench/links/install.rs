//! What the applications need: packages from the registries by their own tools, compiled programs.
//! All of it is below the target directory, except for Debian's packages. A row whose needs cannot
//! be installed is skipped, with the reason.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};
use wirespan_tests::machine;

use super::{
    apps::{App, Program},
    database::Database,
};
use crate::{setup, sh};

/// Where a program and its sources are.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    program: PathBuf,
    /// What was compiled, where the program runs it.
    built: PathBuf,
    sources: PathBuf,
}

impl Tools {
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn built(&self) -> &Path {
        &self.built
    }

    /// A file among the sources; the directory itself without a name.
    pub(super) fn source(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.sources.clone() } else { self.sources.join(name) }
    }
}

/// What was prepared so far, with the failures, so that nothing is tried twice.
#[derive(Debug)]
pub(super) struct Toolbox {
    dir: PathBuf,
    ready: HashMap<Program, Result<Tools, String>>,
    venv: Option<Result<PathBuf, String>>,
}

impl Toolbox {
    /// `dir` is where everything is kept.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, ready: HashMap::new(), venv: None }
    }

    /// Makes sure that an application and its databases can be started; an error says why not.
    pub(super) fn prepare_for(&mut self, app: &App) -> Result<Tools> {
        app.database.map_or(Ok(()), Database::prepare)?;
        self.prepare(app.program)
    }

    fn prepare(&mut self, program: Program) -> Result<Tools> {
        if let Some(done) = self.ready.get(&program) {
            return done.clone().map_err(anyhow::Error::msg);
        }
        let done = self.make(program);
        self.ready.insert(program, done.as_ref().map(Tools::clone).map_err(|err| format!("{err:#}")));
        done
    }

    fn make(&mut self, program: Program) -> Result<Tools> {
        let (language, executable, built) = match program {
            Program::Nginx { .. } => ("proxy", debian("nginx", "nginx-light")?, PathBuf::new()),
            Program::Haproxy { .. } => ("proxy", debian("haproxy", "haproxy")?, PathBuf::new()),
            Program::Python(_) | Program::Gunicorn(_) | Program::Uvicorn(_) => {
                ("python", self.venv()?.join("bin/python"), PathBuf::new())
            }
            Program::Node(_) => ("node", debian("node", "nodejs")?, PathBuf::new()),
            Program::Npm(_) => ("node", debian("node", "nodejs")?, self.npm()?),
            Program::Java(class, oldest) => {
                let home = java_home(oldest)?;
                let built = self.java(class, oldest, &home)?;
                ("java", home.join("bin/java"), built)
            }
            Program::Maven(class) => {
                let home = java_home(11)?;
                let built = self.maven(class, &home)?;
                ("maven", home.join("bin/java"), built)
            }
            Program::Go(name) => ("go", self.go(name)?, PathBuf::new()),
            Program::Rust(name) => ("rust", self.rust()?.join(name), PathBuf::new()),
            Program::Puma => ("ruby", debian("puma", "puma")?, PathBuf::new()),
            Program::Served(server) => ("", packaged(server.program, server.packages)?, PathBuf::new()),
        };
        Ok(Tools { program: executable, built, sources: sources(language) })
    }

    /// A virtual environment of Debian's own Python with the frameworks in it.
    fn venv(&mut self) -> Result<PathBuf> {
        if self.venv.is_none() {
            self.venv = Some(self.make_venv().map_err(|err| format!("{err:#}")));
        }
        self.venv.clone().unwrap_or_else(|| Err("no environment".to_owned())).map_err(anyhow::Error::msg)
    }

    fn make_venv(&self) -> Result<PathBuf> {
        let venv = self.dir.join("venv");
        let wanted = sources("python").join("requirements.txt");
        let installed = venv.join("installed.txt");
        // The list is written last: an interrupted installation is done again.
        if fs::read(&installed).ok() == Some(fs::read(&wanted)?) {
            return Ok(venv);
        }
        println!("links: installing Python packages into {}", venv.display());
        let made = sh::output(Command::new(machine::python()).args(["-m", "venv", "--clear"]).arg(&venv));
        if made.is_err() {
            // Debian has a separate package for what venv needs.
            setup::install(&["python3-venv"])?;
            sh::output(Command::new(machine::python()).args(["-m", "venv", "--clear"]).arg(&venv))?;
        }
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
        ]);
        sh::output(pip.arg("--requirement").arg(&wanted))?;
        fs::copy(&wanted, &installed)?;
        Ok(venv)
    }

    /// The directory with Node's packages.
    fn npm(&self) -> Result<PathBuf> {
        let npm = debian("npm", "npm")?;
        let place = self.dir.join("npm");
        let (wanted, list) = (sources("node").join("package.json"), place.join("package.json"));
        let modules = place.join("node_modules");
        // npm writes this file last.
        if fs::read(&list).ok() == Some(fs::read(&wanted)?) && modules.join(".package-lock.json").exists() {
            return Ok(modules);
        }
        println!("links: installing Node packages into {}", place.display());
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place)?;
        fs::copy(&wanted, &list)?;
        let mut install = Command::new(npm);
        install.args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]);
        sh::output(install.arg("--ignore-scripts").current_dir(&place))?;
        Ok(modules)
    }

    fn java(&self, class: &str, oldest: u32, home: &Path) -> Result<PathBuf> {
        let built = self.dir.join(format!("java-{oldest}"));
        fs::create_dir_all(&built)?;
        let source = sources("java").join(format!("{class}.java"));
        sh::output(Command::new(home.join("bin/javac")).arg("-d").arg(&built).arg(source))?;
        Ok(built)
    }

    /// The directory with a class, and in `jars` what it needs.
    fn maven(&self, class: &str, home: &Path) -> Result<PathBuf> {
        let built = self.dir.join("maven");
        let jars = built.join("jars");
        let (wanted, installed) = (sources("maven").join("pom.xml"), built.join("pom.xml"));
        if fs::read(&installed).ok() != Some(fs::read(&wanted)?) {
            let maven = debian("mvn", "maven")?;
            println!("links: installing Java packages into {}", jars.display());
            let mut copy = Command::new(maven);
            copy.args(["--quiet", "--batch-mode", "dependency:copy-dependencies", "--file"]).arg(&wanted);
            sh::output(copy.arg(format!("-DoutputDirectory={}", jars.display())))?;
            fs::copy(&wanted, &installed)?;
        }
        let source = sources("maven").join(format!("{class}.java"));
        let mut compile = Command::new(home.join("bin/javac"));
        compile.arg("-cp").arg(format!("{}/*", jars.display())).arg("-d").arg(&built);
        sh::output(compile.arg(source))?;
        Ok(built)
    }

    fn go(&self, name: &str) -> Result<PathBuf> {
        let go = debian("go", "golang-go")?;
        let built = self.dir.join(format!("go-{name}"));
        let mut build = Command::new(go);
        // Debian's Go builds them; no other version is fetched.
        build.env("GOTOOLCHAIN", "local").current_dir(sources("go").join(name));
        sh::output(build.args(["build", "-o"]).arg(&built).arg("."))?;
        Ok(built)
    }

    /// The directory with the programs of the Rust workspace.
    fn rust(&self) -> Result<PathBuf> {
        let target = self.dir.join("rust");
        let manifest = sources("rust").join("Cargo.toml");
        let mut build = sh::cargo();
        build.env("CARGO_TARGET_DIR", &target).args(["build", "--quiet", "--release", "--locked"]);
        sh::output(build.arg("--manifest-path").arg(manifest))?;
        Ok(target.join("release"))
    }
}

fn sources(language: &str) -> PathBuf {
    sh::root().join("tests/programs/links").join(language)
}

/// A program of Debian's, installed if it is not there.
fn debian(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = sh::which(program) {
        return Ok(found);
    }
    packaged(program, &[package])
}

/// A program of the first of these packages; it needs all of them.
fn packaged(program: &str, packages: &[&str]) -> Result<PathBuf> {
    let missing: Vec<_> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if !missing.is_empty() {
        setup::install(&missing)?;
    }
    sh::which(program).ok_or_else(|| anyhow!("the package {} has no program {program}", packages[0]))
}

fn is_installed(package: &str) -> bool {
    let asked = sh::output(Command::new("dpkg-query").args(["--show", "--showformat", "${Status}", package]));
    asked.is_ok_and(|status| status.ends_with("ok installed"))
}

/// The home of the oldest Java on this machine that is not older than asked for.
fn java_home(oldest: u32) -> Result<PathBuf> {
    let mut homes = Vec::new();
    for entry in fs::read_dir("/usr/lib/jvm").context("no Java is installed")?.flatten() {
        let home = entry.path();
        let release = fs::read_to_string(home.join("release")).unwrap_or_default();
        let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""));
        let major = version.and_then(|text| text.split(['.', '"']).next()?.parse::<u32>().ok());
        if let Some(major) = major.filter(|&major| major >= oldest && home.join("bin/javac").exists()) {
            homes.push((major, home));
        }
    }
    homes.sort();
    let Some((_, home)) = homes.into_iter().next() else { bail!("no JDK {oldest} or later in /usr/lib/jvm") };
    Ok(home)
}
