//! Servers that run an application of others: gunicorn, uvicorn, uWSGI, Celery, Puma, Starman,
//! php-fpm and their like. Their command lines name the application; many replace the command line
//! by a title, which names it, too.

use super::{Place, file_name, is_nameless_directory, project, stem};

/// Servers of Python's WSGI and ASGI, which are given `module:variable`.
const PYTHON: [&str; 9] =
    ["gunicorn", "uvicorn", "hypercorn", "daphne", "waitress-serve", "granian", "uwsgi", "fastapi", "bjoern"];

/// Programs that run what is in the working directory.
const OF_DIRECTORY: [&str; 9] =
    ["puma", "rails", "rackup", "unicorn", "unicorn_rails", "thin", "pitchfork", "falcon", "iodine"];

/// Servers that are given a file.
const OF_FILE: [&str; 5] = ["starman", "plackup", "starlet", "hypnotoad", "morbo"];

/// Parts of a module's name that mean nothing.
const NAMELESS_MODULES: [&str; 9] =
    ["wsgi", "asgi", "main", "app", "application", "server", "api", "__main__", "run"];

/// The name in a title: what a program has written over its arguments, as one text.
pub(super) fn of_title(title: &str) -> Option<String> {
    if let Some(rest) = title.strip_prefix("php-fpm: ") {
        let pool = rest.strip_prefix("pool ").map(str::trim).filter(|pool| !pool.is_empty());
        return Some(pool.unwrap_or("php-fpm").to_owned());
    }
    if let Some(rest) = title.strip_prefix("gunicorn: ") {
        return Some(of_module(bracketed(rest)?, None));
    }
    if title.starts_with("puma") {
        return bracketed(title).map(str::to_owned);
    }
    if let Some(rest) = title.strip_prefix("sidekiq ") {
        // sidekiq 7.1.2 shop [0 of 5 busy]
        let name = rest.split(' ').nth(1)?;
        return (!name.starts_with('[')).then(|| name.to_owned());
    }
    if let Some((kind, rest)) = title.split_once("App: ")
        && kind.starts_with("Passenger ")
    {
        return Some(file_name(rest.split(' ').next()?.trim_end_matches('/')).to_owned());
    }
    if title.starts_with("[celeryd") || title.starts_with("[celery") {
        let words: Vec<&str> = title.split([' ', '(', ')']).collect();
        return Some(
            option(&words, &["-A", "--app"]).map_or("celery".to_owned(), |app| of_module(app, None)),
        );
    }
    None
}

/// The name of what the program `server`, an executable or a script, runs by these arguments.
pub(super) fn of_command(server: &str, arguments: &[&str], place: &dyn Place) -> Option<String> {
    if PYTHON.contains(&server) {
        return Some(of_python(server, arguments, place));
    }
    if server == "celery" || server == "flask" {
        let app = option(arguments, &["-A", "--app"]).map(str::to_owned);
        let app = app.or_else(|| place.variable(if server == "flask" { "FLASK_APP" } else { "CELERY_APP" }));
        return Some(app.map_or(server.to_owned(), |app| of_module(stem(file_name(&app)), Some(place))));
    }
    if OF_DIRECTORY.contains(&server) {
        let tag = option(arguments, &["--tag"]).map(str::to_owned);
        return Some(tag.or_else(|| project(place)).unwrap_or_else(|| server.to_owned()));
    }
    if server == "sidekiq" {
        let tag = option(arguments, &["-g", "--tag"]).map(str::to_owned);
        return Some(tag.or_else(|| project(place)).unwrap_or_else(|| server.to_owned()));
    }
    if OF_FILE.contains(&server) {
        let file = arguments.iter().rev().find(|argument| {
            argument.ends_with(".psgi") || argument.contains('/') && !argument.starts_with('-')
        });
        return Some(file.map_or_else(|| server.to_owned(), |file| of_file(file, place)));
    }
    None
}

fn of_python(server: &str, arguments: &[&str], place: &dyn Place) -> String {
    if let Some(name) = option(arguments, &["-n", "--name", "--procname-prefix-spaced", "--procname"])
        .filter(|_| matches!(server, "gunicorn" | "uwsgi" | "granian"))
    {
        return name.trim().to_owned();
    }
    let given = option(arguments, &["-w", "--module", "--wsgi"]).filter(|_| server == "uwsgi");
    let application = given.or_else(|| arguments.iter().copied().find(|argument| is_application(argument)));
    if let Some(application) = application {
        return of_module(application, Some(place));
    }
    let file = option(arguments, &["--wsgi-file", "--file", "--ini", "--yaml", "--xml", "--json"])
        .filter(|_| server == "uwsgi");
    if let Some(file) = file {
        let name = stem(file_name(file));
        return if NAMELESS_MODULES.contains(&name) || name == "uwsgi" {
            of_file(file, place)
        } else {
            name.to_owned()
        };
    }
    // A module without a variable, as in `gunicorn shop.wsgi`.
    let last = arguments.last().filter(|last| is_dotted(last) && last.contains('.'));
    match last.or_else(|| arguments.first().filter(|first| is_dotted(first))) {
        Some(module) if server != "uwsgi" => of_module(stem(module), Some(place)),
        _ => server.to_owned(),
    }
}

/// `module:variable`, and not `host:port` or an address with a scheme.
fn is_application(text: &str) -> bool {
    text.split_once(':').is_some_and(|(module, variable)| {
        let variable = variable.split('(').next().unwrap_or(variable);
        is_dotted(module) && is_dotted(variable) && !variable.starts_with(|c: char| c.is_ascii_digit())
    })
}

fn is_dotted(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

/// `shop.wsgi:application` is `shop`; a name that means nothing gives way to that of the directory.
pub(super) fn of_module(application: &str, place: Option<&dyn Place>) -> String {
    let module = application.split(':').next().unwrap_or(application);
    let mut parts = module.split('.').rev().skip_while(|part| NAMELESS_MODULES.contains(part));
    if let Some(part) = parts.next().filter(|part| !part.is_empty()) {
        return part.to_owned();
    }
    place.and_then(project).unwrap_or_else(|| module.split('.').next().unwrap_or(module).to_owned())
}

/// `/srv/shop/app.psgi` is `shop`.
fn of_file(path: &str, place: &dyn Place) -> String {
    let name = stem(file_name(path));
    if !NAMELESS_MODULES.contains(&name) && name != "uwsgi" {
        return name.to_owned();
    }
    let above = path.rsplit('/').skip(1).find(|part| !is_nameless_directory(part));
    above.map(str::to_owned).or_else(|| project(place)).unwrap_or_else(|| name.to_owned())
}

/// The value of an option, as the next argument or behind `=`.
fn option<'a>(arguments: &[&'a str], names: &[&str]) -> Option<&'a str> {
    arguments.iter().enumerate().find_map(|(index, argument)| {
        if names.contains(argument) {
            return arguments.get(index + 1).copied();
        }
        let (name, value) = argument.split_once('=')?;
        names.contains(&name).then_some(value)
    })
}

/// What stands in brackets at the end.
fn bracketed(text: &str) -> Option<&str> {
    let (_, name) = text.trim_end().strip_suffix(']')?.rsplit_once('[')?;
    (!name.is_empty()).then_some(name)
}
