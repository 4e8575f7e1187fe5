//! Java: the jar without its version, the main class, the module; also where they stand in a file
//! of arguments.

use super::{Place, file_name};

/// Options whose value is the next argument.
const VALUED: [&str; 15] = [
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
    "--limit-modules",
    "--enable-native-access",
    "--source",
    "--describe-module",
];

/// Class names that mean nothing; their package has the name.
const NAMELESS: [&str; 10] = [
    "Main",
    "App",
    "Application",
    "Bootstrap",
    "Launcher",
    "JarLauncher",
    "WarLauncher",
    "PropertiesLauncher",
    "Start",
    "Startup",
];

/// Classes that start a program which has another name.
const KNOWN: [(&str, &str); 4] = [
    ("org.apache.catalina.startup.Bootstrap", "tomcat"),
    ("org.eclipse.jetty.start.Main", "jetty"),
    ("org.codehaus.plexus.classworlds.launcher.Launcher", "maven"),
    ("org.jboss.modules.Main", "jboss"),
];

/// What stands behind the version of a jar, or instead of one.
const QUALIFIERS: [&str; 18] = [
    "snapshot",
    "release",
    "final",
    "ga",
    "rc",
    "m",
    "b",
    "alpha",
    "beta",
    "build",
    "all",
    "exec",
    "boot",
    "fat",
    "uber",
    "shaded",
    "standalone",
    "runner",
];

/// Files of arguments that are looked into; they do not nest (java(1)).
const MAX_FILES: usize = 8;

/// The name of what these arguments (without `java` itself) run.
pub(super) fn name(arguments: &[String], place: &dyn Place) -> Option<String> {
    let arguments = expand(arguments, place);
    let mut rest = arguments.iter().map(String::as_str);
    let mut said = None;
    while let Some(argument) = rest.next() {
        if let Some(name) =
            argument.strip_prefix("-Dspring.application.name=").filter(|name| !name.is_empty())
        {
            said = Some(name.to_owned());
        } else if argument == "-jar" {
            return said.or_else(|| Some(of_jar(rest.next()?)));
        } else if matches!(argument, "-m" | "--module") {
            return said.or_else(|| Some(of_module(rest.next()?)));
        } else if let Some(module) = argument.strip_prefix("--module=") {
            return said.or_else(|| Some(of_module(module)));
        } else if VALUED.contains(&argument) {
            rest.next();
        } else if !argument.starts_with(['-', '@']) {
            return said.or_else(|| Some(of_class(argument)));
        }
    }
    said
}

/// The arguments with those of `@FILE` in its place. A file that cannot be read has none.
fn expand(arguments: &[String], place: &dyn Place) -> Vec<String> {
    let mut files = 0;
    let mut all = Vec::new();
    for argument in arguments {
        let path = argument.strip_prefix('@').filter(|path| !path.is_empty() && !path.starts_with('@'));
        match path.filter(|_| files < MAX_FILES) {
            Some(path) => {
                files += 1;
                all.extend(place.file(path).map(|text| words(&text)).unwrap_or_default());
            }
            None => all.push(argument.clone()),
        }
    }
    all
}

/// Words between white space, quoted ones whole; `#` begins a comment.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in text.lines() {
        let mut word: Option<String> = None;
        let mut quote = None;
        for character in line.chars() {
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (None, '"' | '\'') => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (None, '#') => break,
                (None, white) if white.is_whitespace() => words.extend(word.take()),
                _ => word.get_or_insert_default().push(character),
            }
        }
        words.extend(word);
    }
    words
}

/// `/srv/orders-1.2.3-SNAPSHOT.jar` is `orders`.
pub(super) fn of_jar(path: &str) -> String {
    let file = file_name(path);
    let stem = file.strip_suffix(".jar").or_else(|| file.strip_suffix(".war")).unwrap_or(file);
    let cut = stem.match_indices(['-', '_']).map(|(at, _)| at).find(|at| is_version(&stem[at + 1..]));
    match cut {
        Some(at) if at > 0 => stem[..at].to_owned(),
        _ => stem.to_owned(),
    }
}

/// `1.2.3`, `v2`, `1.0.0-20240131.101112-3-exec`, `2.0.0.RELEASE`, `SNAPSHOT`,
/// `jar-with-dependencies`.
fn is_version(text: &str) -> bool {
    if text == "jar-with-dependencies" {
        return true;
    }
    let text = text.strip_suffix("-jar-with-dependencies").unwrap_or(text);
    let lower = text.to_ascii_lowercase();
    let mut parts = lower.split(['-', '_', '+', '.']);
    parts.all(|part| {
        let digits = part.strip_prefix('v').unwrap_or(part);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_commit = part.len() >= 7
            && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            && part.bytes().any(|byte| byte.is_ascii_digit());
        is_number || is_commit || QUALIFIERS.contains(&part.trim_end_matches(|c: char| c.is_ascii_digit()))
    })
}

/// `com.acme.Billing` is `Billing`, `com.acme.orders.Main` is `orders`.
fn of_class(class: &str) -> String {
    if let Some((_, name)) = KNOWN.iter().find(|(known, _)| *known == class) {
        return (*name).to_owned();
    }
    if let Some(stem) = file_name(class).strip_suffix(".java") {
        return stem.to_owned();
    }
    let mut parts = class.rsplit(['.', '/']);
    let simple = parts.next().unwrap_or(class);
    let package = parts.next().filter(|package| !package.is_empty() && *package != "launch");
    let is_spring = class.starts_with("org.springframework.boot.loader.");
    match package.filter(|_| NAMELESS.contains(&simple) && !is_spring) {
        Some(package) => package.to_owned(),
        None => simple.to_owned(),
    }
}

/// `shop/com.acme.Billing` is `Billing`, `com.acme.shop/com.acme.Main` and `com.acme.shop` are
/// `shop`.
fn of_module(module: &str) -> String {
    let (module, class) = module.split_once('/').unwrap_or((module, "Main"));
    let class = class.rsplit('.').next().unwrap_or(class);
    let name = if NAMELESS.contains(&class) { module.rsplit('.').next().unwrap_or(module) } else { class };
    name.to_owned()
}
