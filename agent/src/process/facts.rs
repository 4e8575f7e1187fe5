//! Reads the facts of one process for its OpenTelemetry resource, once per selection or exec.

use super::{ProcError, ProcRoot, arguments, attributes, cgroup::Cgroups, container, service};
use crate::event::{KernelFacts, ProcessFacts};

const SERVICE_NAME: &str = "service.name";

/// Reads the facts of `pid`. The service name comes from the rule that selected the process
/// (`rule_service`), else from OTEL_SERVICE_NAME, `service.name` of OTEL_RESOURCE_ATTRIBUTES, the
/// systemd unit or the program, in this order.
///
/// `Ok(None)` when the process vanished, executed another program, or its pid went to another
/// process, while it was read.
///
/// # Errors
/// When /proc refuses (no permission).
pub fn read(
    proc: &ProcRoot,
    pid: u32,
    rule_service: Option<&str>,
) -> Result<Option<ProcessFacts>, ProcError> {
    let Some(life) = proc.life(pid)? else { return Ok(None) };
    let Some(executable) = proc.executable(pid)? else { return Ok(None) };
    let Some(user_id) = proc.user(pid)? else { return Ok(None) };
    let command = proc.arguments(pid)?;
    let cgroups = proc.cgroups(pid)?;
    let [otel_service, otel_attributes] =
        proc.environment(pid, ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]);
    let container_id = container_id(proc, pid, &cgroups)?;
    if !proc.life(pid)?.is_some_and(|now| now.is_same_program(&life)) {
        return Ok(None);
    }

    // The specification says to ignore a malformed list as a whole.
    let mut resource_attributes =
        otel_attributes.and_then(|text| attributes::parse(&text).ok()).unwrap_or_default();
    let named = resource_attributes.iter().position(|(key, _)| key == SERVICE_NAME);
    let attribute_service = named.map(|index| resource_attributes.remove(index).1);

    let given = [rule_service.map(str::to_owned), otel_service, attribute_service];
    let service_name = given
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .or_else(|| service::from_unit(&cgroups))
        .unwrap_or_else(|| service::from_program(&executable, &command, &service::Around { proc, pid }));

    Ok(Some(ProcessFacts {
        pid,
        start_time: life.start_time,
        parent_pid: Some(life.parent).filter(|pid| *pid != 0),
        executable: executable.into(),
        command_args: arguments::exportable(&command),
        service_name: service_name.into(),
        resource_attributes,
        container_id: container_id.map(Into::into),
        user_id: Some(user_id),
    }))
}

/// The facts of a process that is gone, or another program by now, as far as the kernel reported
/// them. Its environment, unit and container are not known.
pub(super) fn of_gone(
    pid: u32,
    reported: &KernelFacts,
    executable: Option<&str>,
    rule_service: Option<&str>,
) -> ProcessFacts {
    let command = reported.arguments.as_deref().unwrap_or_default();
    // A name that leads to no known file is at least what the program was executed as.
    let named = executable.or(reported.name.as_deref()).unwrap_or_default();
    let service_name = match rule_service {
        Some(name) => name.to_owned(),
        None => service::from_program(named, command, &service::Nowhere),
    };
    ProcessFacts {
        pid,
        start_time: reported.start_time.unwrap_or(0),
        parent_pid: reported.parent,
        executable: executable.unwrap_or_default().into(),
        command_args: arguments::exportable(command),
        service_name: service_name.into(),
        resource_attributes: Vec::new(),
        container_id: None,
        user_id: reported.user,
    }
}

fn container_id(proc: &ProcRoot, pid: u32, cgroups: &Cgroups) -> Result<Option<String>, ProcError> {
    if let Some(id) = container::from_cgroups(cgroups) {
        return Ok(Some(id.to_owned()));
    }
    // Only in a process with mounts of its own do the mounts show what its runtime shares with it.
    let own = proc.own_namespace("mnt");
    if own.is_some() && own == proc.namespace(pid, "mnt")? {
        return Ok(None);
    }
    let mounts = proc.mount_table(pid)?;
    Ok(mounts.and_then(|table| container::from_mounts(&table).map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::fake::{FakeProc, FakeProcess};

    #[test]
    fn the_service_name_comes_from_the_first_that_has_one() {
        let unit = "0::/system.slice/legacy.service\n";
        let name = "OTEL_SERVICE_NAME=named\0";
        let list = "OTEL_RESOURCE_ATTRIBUTES=service.name=listed,service.namespace=shop\0";
        for (rule, environment, cgroup, expected) in [
            (Some("ruled"), format!("{name}{list}"), unit, "ruled"),
            (None, format!("X=1\0{name}{list}"), unit, "named"),
            (None, format!("OTEL_SERVICE_NAME=\0{list}"), unit, "listed"),
            (None, "OTEL_RESOURCE_ATTRIBUTES=service.name=a,broken\0".to_owned(), unit, "legacy"),
            (None, "XOTEL_SERVICE_NAME=x\0".to_owned(), "0::/\n", "app"),
        ] {
            let proc = FakeProc::new();
            proc.add(&FakeProcess {
                pid: 7,
                exe: "/usr/bin/python3",
                cmdline: &["python3", "app.py"],
                environment: &environment,
                cgroup,
                ..FakeProcess::default()
            });
            let facts = read(proc.root(), 7, rule).unwrap().unwrap();
            assert_eq!(&*facts.service_name, expected);
            assert!(facts.resource_attributes.iter().all(|(key, _)| key != SERVICE_NAME));
        }
    }

    #[test]
    fn all_facts_of_a_process() {
        let id = "3f4cdbc5e1e1a5a8c1f0b9d0a3de7e1b6b2c9ad4b1ab0e2b1f7b9f6c8e5d4c3b";
        let proc = FakeProc::new();
        proc.add(&FakeProcess {
            pid: 7,
            parent: 3,
            start_time: 99,
            exe: "/srv/app (deleted)",
            cmdline: &["app", "--token", "t", ""],
            environment: "OTEL_RESOURCE_ATTRIBUTES=a=b%20c\0",
            cgroup: &format!("0::/docker/{id}\n"),
            user: 1000,
            ..FakeProcess::default()
        });
        assert_eq!(
            read(proc.root(), 7, None).unwrap(),
            Some(ProcessFacts {
                pid: 7,
                start_time: 99,
                parent_pid: Some(3),
                executable: "/srv/app".into(),
                command_args: ["app", "--token", "REDACTED", ""].map(str::to_owned).to_vec(),
                service_name: "app".into(),
                resource_attributes: vec![("a".to_owned(), "b c".to_owned())],
                container_id: Some(id.into()),
                user_id: Some(1000),
            })
        );
    }

    #[test]
    fn a_process_that_is_not_there_has_no_facts() {
        let proc = FakeProc::new();
        assert_eq!(read(proc.root(), 7, None).unwrap(), None);
        proc.add(&FakeProcess { pid: 8, state: 'Z', ..FakeProcess::default() });
        assert_eq!(read(proc.root(), 8, None).unwrap(), None);
        // A kernel thread has no executable.
        proc.add(&FakeProcess { pid: 9, exe: "", ..FakeProcess::default() });
        assert_eq!(read(proc.root(), 9, None).unwrap(), None);
    }

    /// A child that is killed when the test ends, however it ends.
    struct Killed(std::process::Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_real_process() {
        let proc = ProcRoot::default();
        let mut sleep = std::process::Command::new("/bin/sleep");
        let mut child = Killed(sleep.arg("600").env("OTEL_SERVICE_NAME", "nap").spawn().unwrap());
        let pid = child.0.id();
        // The spawning thread goes on while the kernel still sets up the arguments of the new
        // program.
        while proc.arguments(pid).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let facts = read(&proc, pid, None).unwrap().unwrap();
        assert_eq!(facts.parent_pid, Some(std::process::id()));
        assert_eq!(facts.command_args, ["/bin/sleep", "600"]);
        assert_eq!(&*facts.service_name, "nap");
        assert!(facts.executable.starts_with('/') && facts.start_time > 0);

        // A zombie first, then nothing.
        child.0.kill().unwrap();
        while read(&proc, pid, None).unwrap().is_some() {
            std::thread::yield_now();
        }
        child.0.wait().unwrap();
        assert_eq!(read(&proc, pid, None).unwrap(), None);
    }
}
