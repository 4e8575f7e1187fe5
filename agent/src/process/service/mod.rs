//! The service name of a process that nobody has named: its systemd unit, else the program that it
//! executes.
//!
//! For an interpreter that is the program it runs: `python3 app.py` is `app`,
//! `python3 -m http.server` is `http.server`, `java -jar orders-1.2.jar` is `orders`,
//! `java … com.acme.Billing` is `Billing`, `node server.js` is `server`. For a server that runs an
//! application it is the application: `gunicorn shop.wsgi` is `shop`, `php-fpm: pool www` is `www`.
//! A name that means nothing (`index.js`, `node .`, `manage.py`) gives way to that of its package
//! or its directory.

mod erlang;
mod java;
mod place;
mod servers;

pub(super) use place::{Around, Nowhere, Place};

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
        valued: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--env-file",
            "--title",
            "-c",
            "--config",
        ],
        program: &[],
        verbs: &["run", "task", "start"],
        code: &["-e", "--eval", "-p", "--print"],
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
    Interpreter {
        names: &["dotnet"],
        valued: &[
            "--depsfile",
            "--runtimeconfig",
            "--additionalprobingpath",
            "--additional-deps",
            "--fx-version",
            "--roll-forward",
            "-c",
            "--configuration",
            "-f",
            "--framework",
            "--launch-profile",
        ],
        program: &["--project"],
        verbs: &["exec", "run", "watch"],
        code: &[],
    },
];

const PROGRAM_SUFFIXES: [&str; 19] = [
    ".py", ".pyc", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".mts", ".rb", ".ru", ".php", ".pl", ".psgi", ".sh",
    ".dll", ".csproj", ".ini", ".yaml", ".yml",
];

/// File names that mean nothing; their directory has the name.
const NAMELESS: [&str; 5] = ["index", "main", "__main__", "manage", ""];

/// Directory names that mean nothing; the directory above has the name.
const NAMELESS_DIRECTORIES: [&str; 14] = [
    "", ".", "..", "app", "src", "dist", "build", "bin", "lib", "out", "current", "script", "scripts",
    "public",
];

/// Programs of Node that run another one, which comes next.
const NODE_WRAPPERS: [&str; 8] =
    ["npx", "npx-cli", "nodemon", "ts-node", "tsx", "pm2-runtime", "forever", "dotenv"];

/// Programs of Node that run what the package in the working directory names.
const NODE_PACKAGES: [&str; 8] =
    ["npm", "npm-cli", "yarn", "yarnpkg", "pnpm", "corepack", "npm-run", "yarn-berry"];

/// Longest service name that is made here, in bytes.
const MAX_NAME: usize = 255;

/// The systemd unit the process belongs to. A login session is not one, nor is what runs below a
/// user's own manager, nor the unit of a container runtime for what runs in its containers.
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

/// The name of the executable, or of what it runs.
pub(super) fn from_program(executable: &str, arguments: &[String], place: &dyn Place) -> String {
    let name = file_name(executable);
    // A title is one text with spaces, which no program's name is.
    let title = arguments
        .first()
        .filter(|first| first.contains(' '))
        .and_then(|title| servers::of_title(title.trim()));
    let found = title.or_else(|| program(name, arguments, place));
    match found.as_deref().unwrap_or(name) {
        "" => "unknown_service".to_owned(),
        name => bounded(name),
    }
}

fn program(name: &str, arguments: &[String], place: &dyn Place) -> Option<String> {
    let family = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    let rest = arguments.get(1..).unwrap_or_default();
    match family {
        "java" => return java::name(rest, place),
        "beam.smp" | "beam" => return erlang::name(rest, place),
        // npm gives itself a title.
        "node" if arguments.len() == 1 => {
            let words: Vec<&str> = arguments.first()?.split(' ').collect();
            return node_wrapper(words.first()?, words.get(1..)?, place);
        }
        _ => {}
    }
    let Some(interpreter) = INTERPRETERS.iter().find(|interpreter| interpreter.names.contains(&family))
    else {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        return servers::of_command(family, &rest, place);
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let (program, arguments) = interpreted(interpreter, &rest)?;
    let server = stem(file_name(program));
    if interpreter.names.contains(&"node")
        && let Some(name) = node_wrapper(server, arguments, place)
    {
        return Some(name);
    }
    if let Some(name) = servers::of_command(server, arguments, place) {
        return Some(name);
    }
    Some(program_name(interpreter, program, place))
}

/// The program among the arguments of an interpreter, and its own arguments.
fn interpreted<'a, 'b>(
    interpreter: &Interpreter,
    arguments: &'b [&'a str],
) -> Option<(&'a str, &'b [&'a str])> {
    let mut at = 0;
    while let Some(argument) = arguments.get(at).copied() {
        at += 1;
        if interpreter.code.contains(&argument) {
            return None;
        }
        if interpreter.program.contains(&argument) {
            return Some((arguments.get(at)?, arguments.get(at + 1..)?));
        }
        if interpreter.valued.contains(&argument) {
            at += 1;
        } else if !argument.starts_with('-') && !interpreter.verbs.contains(&argument) {
            return Some((argument, arguments.get(at..)?));
        }
    }
    None
}

/// `npm start` has the name of the package, `npx serve@1.2` is `serve`.
fn node_wrapper(program: &str, arguments: &[&str], place: &dyn Place) -> Option<String> {
    let mut plain = arguments.iter().copied().filter(|argument| !argument.starts_with('-'));
    let is_package = NODE_PACKAGES.contains(&program);
    let mut next = plain.next();
    if is_package && !matches!(next, Some("exec" | "x" | "dlx")) {
        return Some(project(place).unwrap_or_else(|| program.trim_end_matches("-cli").to_owned()));
    }
    if is_package {
        next = plain.next();
    } else if !NODE_WRAPPERS.contains(&program) {
        return None;
    }
    let tool = stem(file_name(next.unwrap_or(program)));
    let tool = tool.split('@').next().filter(|name| !name.is_empty()).unwrap_or(tool);
    Some(if NAMELESS.contains(&tool) {
        project(place).unwrap_or_else(|| tool.to_owned())
    } else {
        tool.to_owned()
    })
}

fn program_name(interpreter: &Interpreter, program: &str, place: &dyn Place) -> String {
    let stem = stem(file_name(program.trim_end_matches('/')));
    if interpreter.names.contains(&"node")
        && let Some(name) = node_package(program, stem, place)
    {
        return name;
    }
    if !NAMELESS.contains(&stem) && !matches!(stem, "." | "..") {
        return stem.to_owned();
    }
    let mut above = program.trim_end_matches('/').rsplit('/').skip(1);
    let said = above.clone().find(|part| !is_nameless_directory(part));
    let said =
        said.map(str::to_owned).or_else(|| (!program.starts_with('/')).then(|| project(place)).flatten());
    let said =
        said.or_else(|| above.next().filter(|part| !matches!(*part, "" | "." | "..")).map(str::to_owned));
    said.unwrap_or_else(|| {
        if matches!(stem, "" | "." | "..") { interpreter.names[0] } else { stem }.to_owned()
    })
}

/// The package of a directory (`node .`, `node /srv/cart`), or of a file whose name means nothing.
fn node_package(program: &str, stem: &str, place: &dyn Place) -> Option<String> {
    let path = program.trim_end_matches('/');
    if stem == file_name(path)
        && let Some(name) = package(path, place)
    {
        return Some(name);
    }
    if !NAMELESS.contains(&stem) && !matches!(stem, "." | "..") {
        return None;
    }
    // The file's directory and those above it, as Node looks for the package of a module.
    let mut directory = path;
    while let Some((above, _)) = directory.rsplit_once('/') {
        if let Some(name) = package(above, place) {
            return Some(name);
        }
        directory = above;
    }
    (!path.starts_with('/')).then(|| package(".", place)).flatten()
}

/// The name in the package.json of a directory, without its scope.
fn package(directory: &str, place: &dyn Place) -> Option<String> {
    let text = place.file(&format!("{directory}/package.json"))?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    let name = json.get("name")?.as_str()?.rsplit('/').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The name of what is in the working directory: that of its package, or that of the directory.
fn project(place: &dyn Place) -> Option<String> {
    if let Some(name) = package(".", place) {
        return Some(name);
    }
    let directory = place.directory()?;
    let mut parts = directory.rsplit('/').filter(|part| !part.is_empty());
    parts.find(|part| !is_nameless_directory(part)).map(str::to_owned)
}

fn is_nameless_directory(name: &str) -> bool {
    NAMELESS_DIRECTORIES.contains(&name)
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
mod tests;
