//! What the guest's file system holds: programs, Python's library, and an init that runs one
//! command and powers off.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::{image::Image, kernel::Kernel, qemu::EXIT_MARKER};
use crate::sh;

/// Programs of this machine that go into every guest. A missing one is left out, and the tests that
/// need it report that.
const PROGRAMS: [&str; 6] = ["nginx", "curl", "wrk", "ip", "bpftool", "setpriv"];

/// Programs of our own: a path here, a name in the guest's `/usr/bin`.
pub(super) type Own = (PathBuf, String);

/// Writes the initramfs of a guest that runs the shell script `command`.
pub(super) fn write(to: &Path, kernel: &Kernel, own: &[Own], command: &str) -> Result<()> {
    let mut image = Image::create(to)?;
    for dir in ["bin", "sbin", "lib", "lib64"] {
        image.directory(format!("/usr/{dir}"))?;
        image.symlink(format!("/{dir}"), &Path::new("usr").join(dir))?;
    }
    for dir in ["/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/var/log", "/var/lib", "/usr/lib/busybox"]
    {
        image.directory(dir)?;
    }
    let busybox =
        sh::which("busybox").ok_or_else(|| anyhow!("busybox is missing: run `cargo xtask setup`"))?;
    image.program(&busybox, "/usr/bin/busybox")?;
    image.program(Path::new("/bin/sh"), "/usr/bin/sh")?;
    for program in PROGRAMS {
        if let Some(path) = sh::which(program) {
            image.program(&path, Path::new("/usr/bin").join(program))?;
        }
    }
    python(&mut image)?;
    for (path, name) in own {
        image.program(path, Path::new("/usr/bin").join(name))?;
    }
    for module in &kernel.modules {
        let name = module.file_name().expect("a module is a file");
        image.copy(module, Path::new("/modules").join(name))?;
    }
    image.file(
        "/etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    image.file("/etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\nnobody:x:65534:\n")?;
    image.file("/etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n")?;
    image.file("/etc/nsswitch.conf", 0o644, b"passwd: files\ngroup: files\nhosts: files\n")?;
    image.file("/command", 0o755, command.as_bytes())?;
    image.file("/init", 0o755, init(kernel).as_bytes())?;
    image.finish()?;
    Ok(())
}

/// Debian's Python with the part of its library that servers and clients use.
fn python(image: &mut Image<impl std::io::Write>) -> Result<()> {
    let program = Path::new("/usr/bin/python3");
    if !program.exists() {
        return Ok(());
    }
    image.program(program, program)?;
    let show = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let library = sh::output(std::process::Command::new(program).args(["-I", "-c", show]))?;
    let unused = [
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "lib2to3",
        "ensurepip",
        "pydoc_data",
        "turtledemo",
        "distutils",
    ];
    image.tree(Path::new(library.trim()), &|name| unused.contains(&name) || name.starts_with("config-"))
}

/// The guest's first process. Its own output goes to the kernel's console, the command's output to
/// the second serial line.
fn init(kernel: &Kernel) -> String {
    let modules: Vec<_> = kernel.modules.iter().filter_map(|module| module.file_name()?.to_str()).collect();
    let modules = modules.join(" ");
    format!(
        r#"#!/usr/bin/busybox sh
/usr/bin/busybox --install -s /usr/lib/busybox
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox HOME=/root TERM=dumb LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
hostname guest
ip link set lo up
for module in {modules}; do insmod /modules/$module; done
stty -F /dev/ttyS1 raw -echo
cd /root
sh /command </dev/null >/dev/ttyS1 2>&1
echo "{EXIT_MARKER}$?" >/dev/ttyS1
sync
poweroff -f
"#
    )
}
