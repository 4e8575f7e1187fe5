//! The end-to-end tests inside a guest.

use std::{num::NonZero, path::PathBuf, sync::Mutex, thread, time::Duration};

use anyhow::{Result, bail};
use wirespan_tests::programs;

use super::{Machine, guest::Own, kernel::Version, qemu::Clock};
use crate::{
    build, sh,
    test::{Sum, result_of},
};

/// What a guest needs to run the tests.
#[derive(Debug)]
pub(crate) struct Programs {
    own: Vec<Own>,
}

impl Programs {
    pub(crate) fn build(profile: build::Profile) -> Result<Self> {
        let built: [(PathBuf, &str); 3] = [
            (build::agent(profile)?, "wirespan"),
            (build::syscalls()?, "syscalls"),
            (build::end_to_end()?, "e2e"),
        ];
        let mut own: Vec<Own> = built.map(|(path, name)| (path, name.to_owned())).into();
        if sh::which("go").is_some() {
            own.push((programs::go_relay(false)?, "go-relay".to_owned()));
            own.push((programs::go_relay(true)?, "go-relay-stripped".to_owned()));
        }
        Ok(Self { own })
    }

    /// Boots each kernel with each of these attach modes forced and runs the tests, in as many guests at a time as there are
    /// processors: a guest keeps one busy.
    pub(crate) fn run(&self, boots: &[(Version, &str)], timeout: Duration, filter: &[String]) -> Result<Sum> {
        for (version, _) in boots {
            version.fetch()?;
        }
        let guests = thread::available_parallelism().map_or(1, NonZero::get).min(boots.len());
        let left = Mutex::new(boots.iter());
        let next = || left.lock().expect("no guest's thread panics").next();
        let work = || -> Result<Sum> {
            let mut sum = Sum::default();
            while let Some((version, attach_mode)) = next() {
                sum += self.run_one(*version, attach_mode, timeout, filter)?;
            }
            Ok(sum)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..guests).map(|_| scope.spawn(work)).collect();
            let mut all = Sum::default();
            for worker in workers {
                all += worker.join().expect("no guest's thread panics")?;
            }
            Ok(all)
        })
    }

    fn run_one(
        &self,
        version: Version,
        attach_mode: &str,
        timeout: Duration,
        filter: &[String],
    ) -> Result<Sum> {
        let name = format!("{} {attach_mode}", version.name);
        println!("vm: kernel {}, attach mode {attach_mode}", version.name);
        let words: String = filter.iter().map(|word| format!(" '{}'", word.replace('\'', r"'\''"))).collect();
        let command = format!(
            "export WIRESPAN_BIN=/usr/bin/wirespan WIRESPAN_SYSCALLS=/usr/bin/syscalls WIRESPAN_ATTACH_MODE={attach_mode}\n\
             export WIRESPAN_LOAD_SECONDS=3 RUST_BACKTRACE=0 WIRESPAN_PROGRAMS=/usr/bin\n\
             e2e --test-threads=2{words}\n"
        );
        let machine = Machine { version, own: &self.own, clock: Clock::Real, timeout };
        let mut sum = Sum::default();
        let outcome = machine.run(&command, &mut |line| {
            // Node, Java and Go are left out of guests on purpose, so their skips are not shown.
            if !line.starts_with("SKIPPED: ") {
                println!("    {name}: {line}");
            }
            sum += result_of(line);
        })?;
        let boot = outcome.boot.as_secs_f64();
        println!("vm: kernel {}, attach mode {attach_mode}: up after {boot:.1} s, {sum}", version.name);
        if outcome.status != 0 && sum.failed == 0 {
            bail!("the test runner ended with {} under kernel {}", outcome.status, version.name);
        }
        Ok(sum)
    }
}
