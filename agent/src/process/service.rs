//! The name under which people know a process that nobody has named: its systemd unit, else what it executes.
//!
//! For an interpreter that is the program it runs, not the interpreter: `python3 app.py` is `app`, `python3 -m http.server`
//! is `http.server`, `java -jar orders.jar` is `orders`, `java … com.acme.Main` is `Main`, `node server.js` is `server`.
//! A file called `index`, `main` or `__main__` is known by its directory.

use super::cgroup::Cgroups;

/// How the command line of an interpreter is read.
struct Interpreter {
    /// Names of the executable, without trailing version digits.
    names: &'static [&'static str],
    /// Options whose value is the next argument.
    valued: &'static [&'static str],
    /// Options after which the next argument is the program's name.
    program: &'static [&'static str],
    /// Words before the program, as in `deno run FILE`.
    verbs: &'static [&'static str],
    /// Options after which there is no program with a name.
    code: &'static [&'static str],
}

const INTERPRETERS: &[Interpreter] = &[
    Interpreter {
        names: &["python", "pypy"],
        valued: &["-W", "-X"],
        program: &["-m"],
        verbs: &[],
        code: &["-c"],
    },
    Interpreter {
        names: &["node", "nodejs", "bun", "deno"],
        valued: &["-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions"],
        program: &[],
        verbs: &["run"],
        code: &["-e", "--eval", "-p", "--print"],
    },
    Interpreter {
        names: &["java"],
        valued: &[
            "-cp",
            "-classpath",
            "--class-path",
            "-p",
            "--module-path",
            "--add-modules",
            "--add-opens",
            "--add-exports",
            "--add-reads",
            "--patch-module",
            "--upgrade-module-path",
        ],
        program: &["-jar", "-m", "--module"],
        verbs: &[],
        code: &[],
    },
    Interpreter {
        names: &["ruby"],
        valued: &["-I", "-r", "-C", "-E"],
        program: &[],
        verbs: &[],
        code: &["-e"],
    },
    Interpreter {
        names: &["php"],
        valued: &["-d", "-c", "-z"],
        program: &["-f"],
        verbs: &[],
        code: &["-r", "-S", "-B", "-R"],
    },
    Interpreter { names: &["perl"], valued: &["-I"], program: &[], verbs: &[], code: &["-e", "-E"] },
    Interpreter {
        names: &["sh", "bash", "dash", "ksh", "zsh"],
        valued: &["-o", "-O"],
        program: &[],
        verbs: &[],
        code: &["-c", "-s"],
    },
    Interpreter { names: &["dotnet"], valued: &[], program: &[], verbs: &["exec"], code: &[] },
];

const PROGRAM_SUFFIXES: [&str; 13] =
    [".py", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".jar", ".war", ".rb", ".php", ".pl", ".sh", ".dll"];

/// File names that say nothing; their directory does.
const NAMELESS: [&str; 3] = ["index", "main", "__main__"];

/// Longest service name that is made here, in bytes.
const MAX_NAME: usize = 255;

/// The systemd unit the process belongs to. A login session is not one, nor is what runs below a user's own manager, nor
/// the unit of a container runtime for what runs in its containers.
pub(super) fn from_unit(cgroups: &Cgroups) -> Option<String> {
    if super::container::from_cgroups(cgroups).is_some() {
        return None;
    }
    cgroups.identity().find_map(|path| {
        if path.starts_with("/user.slice/") {
            return None;
        }
        let unit = path.rsplit('/').find_map(|component| component.strip_suffix(".service"))?;
        (!unit.is_empty()).then(|| bounded(&unescape(unit)))
    })
}

/// The name of the executable, or of the program that the executable interprets.
pub(super) fn from_program(executable: &str, arguments: &[String]) -> String {
    let name = file_name(executable);
    let family = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    let interpreter = INTERPRETERS.iter().find(|i| i.names.contains(&family));
    let program = interpreter.and_then(|interpreter| program(interpreter, arguments.get(1..)?));
    match program.as_deref().unwrap_or(name) {
        "" => "unknown_service".to_owned(),
        name => bounded(name),
    }
}

fn program(interpreter: &Interpreter, arguments: &[String]) -> Option<String> {
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if interpreter.code.contains(&argument) {
            return None;
        }
        if interpreter.program.contains(&argument) {
            return Some(program_name(interpreter, rest.next()?));
        }
        if interpreter.valued.contains(&argument) {
            rest.next();
        } else if !argument.starts_with('-') && !interpreter.verbs.contains(&argument) {
            return Some(program_name(interpreter, argument));
        }
    }
    None
}

fn program_name(interpreter: &Interpreter, program: &str) -> String {
    if interpreter.names.contains(&"java") && !program.ends_with(".jar") && !program.ends_with(".war") {
        // A class or `module/class`: its simple name.
        return program.rsplit(['/', '.']).next().unwrap_or(program).to_owned();
    }
    let stem = stem(file_name(program));
    if !NAMELESS.contains(&stem) {
        return stem.to_owned();
    }
    let directory = program.rsplit('/').nth(1).filter(|d| !matches!(*d, "" | "." | ".."));
    directory.unwrap_or(stem).to_owned()
}

fn stem(name: &str) -> &str {
    let stem = PROGRAM_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    stem.filter(|stem| !stem.is_empty()).unwrap_or(name)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// systemd writes characters that a unit name cannot hold as `\x2d` (systemd.unit(5)).
fn unescape(unit: &str) -> String {
    let mut pieces = unit.split("\\x");
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(u8::is_ascii_graphic);
        match code {
            Some(code) => {
                result.push(char::from(code));
                result.push_str(&piece[2..]);
            }
            None => {
                result.push_str("\\x");
                result.push_str(piece);
            }
        }
    }
    result
}

fn bounded(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_NAME)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let id = "3f4cdbc5e1e1a5a8c1f0b9d0a3de7e1b6b2c9ad4b1ab0e2b1f7b9f6c8e5d4c3b";
        for (path, expected) in [
            ("/system.slice/nginx.service", Some("nginx")),
            ("/system.slice/system-postgresql.slice/postgresql@14-main.service", Some("postgresql@14-main")),
            ("/shop.slice/orders.service/worker/3", Some("orders")),
            (r"/system.slice/my\x2dapp.service", Some("my-app")),
            (r"/system.slice/odd\xzz.service", Some(r"odd\xzz")),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/dbus.service", None),
            ("/init.scope", None),
            ("/system.slice", None),
            ("/system.slice/.service", None),
            ("/", None),
            (&format!("/system.slice/docker-{id}.scope"), None),
            (&format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"), None),
        ] {
            let cgroups = Cgroups::parse(&format!("0::{path}\n"));
            assert_eq!(from_unit(&cgroups).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn programs() {
        for (executable, command, expected) in [
            ("/usr/sbin/nginx", "nginx: worker process", "nginx"),
            ("/opt/bin/orders-api", "orders-api --port 80", "orders-api"),
            ("/usr/bin/python3.11", "python3 app.py", "app"),
            ("/usr/bin/python3.11", "python3 -u -W ignore /srv/shop/billing.py --x", "billing"),
            ("/usr/bin/python3.11", "python3 -m http.server 8000", "http.server"),
            ("/usr/bin/python3.11", "python3 -c print(1)", "python3.11"),
            ("/usr/bin/python3.11", "python3", "python3.11"),
            ("/usr/bin/python3.11", "/usr/bin/python3 /usr/local/bin/gunicorn shop:app", "gunicorn"),
            ("/usr/bin/node", "node server.js", "server"),
            ("/usr/bin/node", "node --max-old-space-size=100 -r dotenv/config /srv/cart/index.js", "cart"),
            ("/usr/bin/node", "node index.js", "index"),
            ("/usr/bin/node", "node ./main.js", "main"),
            ("/usr/bin/node", "node -e 1", "node"),
            ("/usr/bin/deno", "deno run --allow-net api.ts", "api"),
            ("/usr/lib/jvm/java-17/bin/java", "java -Xmx1g -jar /srv/orders.jar --x", "orders"),
            ("/usr/lib/jvm/java-17/bin/java", "java -cp a.jar:b.jar com.acme.Billing x", "Billing"),
            ("/usr/lib/jvm/java-17/bin/java", "java -p mods -m shop/com.acme.Main", "Main"),
            ("/usr/bin/ruby3.1", "ruby -I lib bin/puma.rb", "puma"),
            ("/usr/bin/php8.2", "php -d a=b worker.php", "worker"),
            ("/usr/bin/php8.2", "php -S 127.0.0.1:80", "php8.2"),
            ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "php-fpm8.2"),
            ("/usr/bin/perl", "perl -w job.pl", "job"),
            ("/usr/bin/bash", "bash -e /opt/run.sh", "run"),
            ("/usr/bin/bash", "bash -c exec sleep", "bash"),
            ("/usr/bin/dotnet", "dotnet /app/Shop.Api.dll", "Shop.Api"),
            ("", "", "unknown_service"),
        ] {
            let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(from_program(executable, &arguments), expected, "{command}");
        }
    }

    #[test]
    fn a_name_is_bounded() {
        assert_eq!(from_program(&"é".repeat(400), &[]).len(), MAX_NAME - 1);
    }
}
