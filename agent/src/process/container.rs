//! The id of the container in which a process runs, from what the runtimes leave in cgroup paths
//! and mounts.
//!
//! Only 64 hex digits count. Docker, containerd, CRI-O and Podman name cgroups by the container's
//! id: `/docker/ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `kubepods/…/ID`,
//! `…:cri-containerd:ID`, `crio-ID.scope`, `libpod-ID.scope/container`, `/ecs/TASK/ID`. In a nested
//! container the process belongs to the innermost id.

use super::cgroup::Cgroups;

const ID_DIGITS: usize = 64;

/// The innermost container id in the cgroup paths.
pub(crate) fn from_cgroups(cgroups: &Cgroups) -> Option<&str> {
    cgroups.identity().find_map(from_path)
}

fn from_path(path: &str) -> Option<&str> {
    path.rsplit('/').find_map(|component| {
        // The monitor beside a container is not in it.
        if component.contains("-conmon-") {
            return None;
        }
        let name = component.strip_suffix(".scope").unwrap_or(component);
        let id = name.rsplit(['-', ':']).next()?;
        is_id(id).then_some(id)
    })
}

/// The id in the source of a file that the runtime mounts into each container, for a process whose
/// cgroup shows as `/`. In a Kubernetes pod these files belong to the sandbox of the pod, and so do
/// not name the container.
pub(crate) fn from_mounts(mountinfo: &str) -> Option<&str> {
    if mountinfo.contains("/kubelet/pods/") {
        return None;
    }
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        if !matches!(point, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        let mut components = root.rsplit('/');
        components
            .find(|component| is_id(component))
            .filter(|_| root.contains("/containers/") || root.contains("/overlay-containers/"))
    })
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4cdbc5e1e1a5a8c1f0b9d0a3de7e1b6b2c9ad4b1ab0e2b1f7b9f6c8e5d4c3b";
    const POD: &str = "9a8b7c6d5e4f30219a8b7c6d5e4f30219a8b7c6d5e4f30219a8b7c6d5e4f3021";

    #[test]
    fn cgroup_lines_of_real_hosts() {
        let pod = "pod0d5a1c1e_29d3_4b0c_8a3e_1f0a7a4c9d11";
        for (line, expected) in [
            // Docker, version 1 with cgroupfs; with systemd; version 2 with systemd; with cgroupfs.
            (
                format!(
                    "12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service"
                ),
                true,
            ),
            (
                format!("1:name=systemd:/system.slice/docker-{ID}.scope\n0::/system.slice/docker-{ID}.scope"),
                true,
            ),
            (format!("0::/system.slice/docker-{ID}.scope"), true),
            (format!("0::/docker/{ID}"), true),
            // Version 1 without systemd's hierarchy.
            (format!("12:memory:/docker/{ID}\n3:cpu:/docker/{ID}"), true),
            // Kubernetes with containerd: systemd driver, cgroupfs driver, and containerd's colon
            // form.
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{pod}.slice/cri-containerd-{ID}.scope"
                ),
                true,
            ),
            (
                format!(
                    "11:pids:/kubepods/besteffort/{pod}/{ID}\n1:name=systemd:/kubepods/besteffort/{pod}/{ID}"
                ),
                true,
            ),
            (
                format!(
                    "1:name=systemd:/system.slice/containerd.service/kubepods-burstable-{pod}.slice:cri-containerd:{ID}"
                ),
                true,
            ),
            // kind: nested below a Docker container.
            (
                format!("0::/docker/{POD}/kubelet.slice/kubelet-kubepods.slice/cri-containerd-{ID}.scope"),
                true,
            ),
            // CRI-O and its monitor.
            (format!("0::/kubepods.slice/kubepods-{pod}.slice/crio-{ID}.scope"), true),
            (format!("0::/kubepods.slice/kubepods-{pod}.slice/crio-{ID}.scope/container"), true),
            (format!("0::/kubepods.slice/kubepods-{pod}.slice/crio-conmon-{ID}.scope"), false),
            // Podman, root and rootless, and its monitor.
            (format!("0::/machine.slice/libpod-{ID}.scope/container"), true),
            (
                format!(
                    "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
                ),
                true,
            ),
            (format!("0::/machine.slice/libpod-conmon-{ID}.scope"), false),
            // Amazon ECS.
            (format!("9:memory:/ecs/8d5f0a4e4b7c4d1f/{ID}\n0::/"), true),
            // No container.
            ("0::/system.slice/nginx.service".to_owned(), false),
            ("0::/user.slice/user-1000.slice/session-3.scope".to_owned(), false),
            ("0::/init.scope".to_owned(), false),
            (format!("0::/system.slice/docker-{}.scope", &ID[1..]), false),
            (format!("0::/system.slice/docker-{}.scope", ID.to_uppercase()), false),
            (format!("0::/system.slice/docker-{ID}0.scope"), false),
        ] {
            let cgroups = Cgroups::parse(&line);
            assert_eq!(from_cgroups(&cgroups), expected.then_some(ID), "{line}");
        }
    }

    #[test]
    fn mounts_of_real_containers() {
        let line = |root: String, point: &str| {
            format!("714 710 259:1 {root} {point} rw,relatime - ext4 /dev/nvme0n1p1 rw")
        };
        for (table, expected) in [
            (line(format!("/var/lib/docker/containers/{ID}/hostname"), "/etc/hostname"), true),
            (line(format!("/containers/storage/overlay-containers/{ID}/userdata/hosts"), "/etc/hosts"), true),
            // Somebody else's file, seen by a host process.
            (
                line(format!("/var/lib/docker/containers/{ID}/mounts/shm"), "/var/lib/docker/containers/x"),
                false,
            ),
            // A pod's sandbox.
            (line(format!("/var/lib/containerd/sandboxes/{POD}/resolv.conf"), "/etc/resolv.conf"), false),
            (
                line("/var/lib/kubelet/pods/0d5a/etc-hosts".to_owned(), "/etc/hosts")
                    + "\n"
                    + &line(
                        format!("/containers/storage/overlay-containers/{POD}/userdata/resolv.conf"),
                        "/etc/resolv.conf",
                    ),
                false,
            ),
            ("garbage".to_owned(), false),
        ] {
            assert_eq!(from_mounts(&table), expected.then_some(ID), "{table}");
        }
    }
}
