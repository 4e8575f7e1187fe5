//! The cgroups of a process, on unified, hybrid and version 1 hosts alike.

/// The lines of /proc/PID/cgroup (cgroups(7)): `hierarchy-ID:controller-list:path`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Cgroups {
    unified: Option<String>,
    /// Version 1's named hierarchy, which systemd keeps also where the unified one is only half
    /// used.
    systemd: Option<String>,
    controllers: Vec<String>,
}

impl Cgroups {
    pub(crate) fn parse(text: &str) -> Self {
        let mut cgroups = Self::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let path = path.strip_suffix(" (deleted)").unwrap_or(path).to_owned();
            match (id, controllers) {
                ("0", "") => cgroups.unified = Some(path),
                (_, "name=systemd") => cgroups.systemd = Some(path),
                _ => cgroups.controllers.push(path),
            }
        }
        cgroups
    }

    /// The paths that say where the process belongs: the unified and systemd's hierarchy; those of
    /// single controllers only when neither says more than the root.
    pub(crate) fn identity(&self) -> impl Iterator<Item = &str> {
        let named = [self.unified.as_deref(), self.systemd.as_deref()];
        let says_nothing = named.iter().flatten().all(|path| *path == "/");
        let controllers = self.controllers.iter().map(String::as_str).filter(move |_| says_nothing);
        named.into_iter().flatten().chain(controllers)
    }

    /// Whether the process is in `path` or anywhere below.
    pub(crate) fn is_within(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.identity()
            .any(|own| own.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }
}

/// `path` relative to the cgroup mount, when it was given below one of `mounts` (longest first).
pub(crate) fn relative(path: &str, mounts: &[String]) -> String {
    let below = mounts.iter().find_map(|mount| {
        path.strip_prefix(mount.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    match below.unwrap_or(path).trim_end_matches('/') {
        "" => "/".to_owned(),
        relative => relative.to_owned(),
    }
}

/// Mount points of cgroup file systems in a mountinfo table (proc_pid_mountinfo(5)) and their
/// parent /sys/fs/cgroup, longest first.
pub(crate) fn mounts(mountinfo: &str) -> Vec<String> {
    let mut points: Vec<String> = mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let kind = after.split(' ').next()?;
            (kind == "cgroup" || kind == "cgroup2").then(|| before.split(' ').nth(4).map(str::to_owned))?
        })
        .filter(|point| point != "/")
        .collect();
    points.push("/sys/fs/cgroup".to_owned());
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_within_its_cgroup_and_those_above() {
        let unified = "0::/system.slice/legacy.service/worker\n";
        let hybrid = "9:name=systemd:/system.slice/legacy.service\n4:memory:/elsewhere\n0::/\n";
        let controllers = "4:memory:/system.slice/legacy.service\n3:cpu,cpuacct:/\n";
        for (text, path, expected) in [
            (unified, "/system.slice/legacy.service", true),
            (unified, "/system.slice/legacy.service/", true),
            (unified, "/system.slice/legacy.service/worker", true),
            (unified, "/system.slice", true),
            (unified, "/", true),
            (unified, "/system.slice/legacy", false),
            (unified, "/system.slice/legacy.service/worker2", false),
            (hybrid, "/system.slice/legacy.service", true),
            (hybrid, "/elsewhere", false),
            (controllers, "/system.slice/legacy.service", true),
            ("0::/gone.service (deleted)\n", "/gone.service", true),
            ("", "/system.slice", false),
            ("garbage\n1:2\n", "/", false),
        ] {
            assert_eq!(Cgroups::parse(text).is_within(path), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn a_path_below_the_mount_point_is_made_relative() {
        let table = "25 30 0:22 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw\n\
                     26 25 0:23 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n\
                     27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                     28 25 0:25 / /mnt/cg rw - cgroup2 none rw\n\
                     29 25 0:26 / / rw - ext4 /dev/vda rw\n";
        let mounts = mounts(table);
        for (given, expected) in [
            ("/system.slice/a.service", "/system.slice/a.service"),
            ("/sys/fs/cgroup/unified/a", "/a"),
            ("/sys/fs/cgroup/systemd/a/", "/a"),
            ("/sys/fs/cgroup/a", "/a"),
            ("/mnt/cg/a/b", "/a/b"),
            ("/mnt/cgroup", "/mnt/cgroup"),
            ("/sys/fs/cgroup", "/"),
            ("/", "/"),
        ] {
            assert_eq!(relative(given, &mounts), expected, "{given}");
        }
    }
}
