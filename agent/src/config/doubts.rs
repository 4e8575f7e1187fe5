//! Settings that are valid and probably do not mean what their writer meant. Each costs a warning,
//! the same from `config check` and from `run`.

use std::{path::Path, time::Duration};

use super::{
    Config,
    error::Problem,
    yaml::{Entry, Node},
};
use crate::process::Rule;

/// A timeout below this is rarely meant, in milliseconds.
const SHORT_TIMEOUT: u128 = 100;
/// Silence of this length is ordinary on connections that are kept alive, in seconds.
const SHORT_IDLE: u64 = 60;

/// Spans of one batch.
const BATCH: usize = crate::pipeline::queue::Batcher::MAX_ENTRIES;

/// What is doubtful in a file that has no errors.
pub(super) fn of_file(root: &Node, config: &Config) -> Vec<Problem> {
    let mut doubts = Vec::new();
    // Every section has been read before, so there is no error.
    drop(sections(&Entry::new("", root), config, &mut doubts));
    doubts
}

fn sections(root: &Entry<'_>, config: &Config, doubts: &mut Vec<Problem>) -> Result<(), Problem> {
    let all = root.pairs("")?.collect::<Vec<_>>();
    for section in all {
        if section.is_nothing() {
            continue;
        }
        let name = section.name().to_owned();
        match name.as_str() {
            "select" => rules(section, &config.selection.select, &config.selection.exclude, doubts)?,
            "exclude" => rules(section, &config.selection.exclude, &[], doubts)?,
            "export" => export(section, doubts)?,
            "limits" => limits(&section, config, doubts),
            "redaction" => redaction(&section, config, doubts),
            _ => {}
        }
    }
    Ok(())
}

fn rules(
    section: Entry<'_>,
    rules: &[Rule],
    exclude: &[Rule],
    doubts: &mut Vec<Problem>,
) -> Result<(), Problem> {
    for (index, item) in section.list("")?.enumerate() {
        let Some(rule) = rules.get(index) else { continue };
        if rules[..index].contains(rule) {
            doubts.push(item.problem("this rule stands here twice"));
        }
        let unnamed = Rule { service: None, ..rule.clone() };
        if exclude.contains(&unnamed) {
            doubts.push(item.problem("this rule never selects anything: exclude has the same one"));
        }
        for condition in item.pairs("")? {
            if let Some(pid) = rule.pid.filter(|_| condition.name() == "pid")
                && !Path::new(&format!("/proc/{pid}")).exists()
            {
                doubts.push(condition.problem(format_args!("no process has the pid {pid} now")));
            }
            let Ok(text) = condition.text("") else { continue };
            let doubt = match condition.name() {
                "exe" => executable(text),
                "cmdline" => command_line(text),
                "cgroup" => cgroup(text),
                "service" if text != text.trim() => Some("the name begins or ends with blanks".to_owned()),
                _ => None,
            };
            doubts.extend(doubt.map(|doubt| condition.problem(doubt)));
        }
    }
    Ok(())
}

/// The kernel reports the path of an executable as absolute and without links.
pub(super) fn executable(text: &str) -> Option<String> {
    if text.ends_with(['\n', '\r']) {
        return Some(line_break());
    }
    if text != text.trim() {
        return Some(
            "the pattern begins or ends with blanks, which hardly any path does: it never matches".to_owned(),
        );
    }
    if text.starts_with('~') || text.contains('$') {
        return Some("~ and $ mean themselves: write the whole path".to_owned());
    }
    if !text.contains('/') && !text.starts_with('*') {
        return Some(format!("a bare name matches in any directory: as */{text}"));
    }
    if text.starts_with(|first: char| first.is_alphanumeric() || matches!(first, '.' | '_' | '-')) {
        return Some(format!("paths of executables begin with /: it never matches; write /… or */{text}"));
    }
    if text.contains("//") || text.contains("/./") || text.contains("/../") || text.ends_with('/') {
        return Some(
            "no path of an executable has //, /./, /../ or a / at its end: it never matches".to_owned(),
        );
    }
    if let Some(end) = SCRIPTS.into_iter().find(|end| text.ends_with(end)) {
        return Some(format!(
            "a file *{end} is run by an interpreter, which is the executable: select it by cmdline"
        ));
    }
    linked(text)
}

/// Ends of names of files that no kernel executes by themselves; a script's executable is its
/// interpreter.
const SCRIPTS: [&str; 8] = [".jar", ".war", ".py", ".js", ".rb", ".php", ".pl", ".sh"];

/// A path on this host that is a symbolic link. Paths inside containers cannot be checked here.
fn linked(text: &str) -> Option<String> {
    if text.contains(['*', '?', '[', '{', '\\']) {
        return None;
    }
    let real = Path::new(text).canonicalize().ok()?;
    (real != Path::new(text)).then(|| {
        let real = real.display();
        format!("on this host the path is a link to {real}, and executables are known by where links lead: write {real}")
    })
}

fn command_line(text: &str) -> Option<String> {
    if text.ends_with(['\n', '\r']) {
        return Some(line_break());
    }
    if text.contains(['\n', '\r']) {
        return Some(
            "arguments are joined by spaces: a pattern with a line break within matches next to nothing"
                .to_owned(),
        );
    }
    if text != text.trim() {
        return Some(
            "the pattern begins or ends with blanks, which must stand in the command line, too".to_owned(),
        );
    }
    (!text.contains(['*', '?', '[', '{'])).then(|| {
        format!("without a * the pattern must be the whole command line with all arguments; \"*{text}*\" matches a part of it")
    })
}

fn cgroup(text: &str) -> Option<String> {
    if text != text.trim() {
        return Some("the path begins or ends with blanks or a line break: it never matches".to_owned());
    }
    text.contains(['*', '?'])
        .then(|| "a cgroup is a path and no pattern: everything below it belongs to it".to_owned())
}

fn line_break() -> String {
    "the line break at the end is left out; a block of one line is better written in double quotes".to_owned()
}

fn export(section: Entry<'_>, doubts: &mut Vec<Problem>) -> Result<(), Problem> {
    for exporter in section.pairs("")? {
        let paths: &[&str] = match exporter.name() {
            "file" => &["path"],
            "otlp" => &["certificate", "client_certificate", "client_key"],
            _ => continue,
        };
        if exporter.is_nothing() {
            continue;
        }
        for setting in exporter.pairs("")? {
            if let Ok(text) = setting.text("")
                && paths.contains(&setting.name())
                && let Some(doubt) = path(text)
            {
                doubts.push(setting.problem(doubt));
            }
        }
    }
    Ok(())
}

fn path(text: &str) -> Option<String> {
    if text != text.trim() {
        return Some(
            "the path begins or ends with blanks or a line break, which become part of the name".to_owned(),
        );
    }
    if text.starts_with('~') || text.contains('$') {
        return Some("~ and $ mean themselves: write the whole path".to_owned());
    }
    (!text.starts_with('/')).then(|| {
        "the path is relative to the directory in which the agent is started (/ under systemd): write it from / on".to_owned()
    })
}

fn limits(section: &Entry<'_>, config: &Config, doubts: &mut Vec<Problem>) {
    if config.limits.idle.as_secs() < SHORT_IDLE {
        doubts.push(section.problem(format_args!(
            "idle of {:?} forgets connections that are only kept alive; what comes on them later is missed",
            config.limits.idle
        )));
    }
    if config.limits.parent_wait < Duration::from_secs(1) {
        doubts.push(section.problem(format_args!(
            "parent_wait of {:?} exports spans before the request that caused them is answered: they lose their parents",
            config.limits.parent_wait
        )));
    }
    if config.limits.queue_spans < BATCH {
        doubts.push(section.problem(format_args!(
            "queue_spans of {} drops spans at each burst: one batch has up to {BATCH}",
            config.limits.queue_spans
        )));
    }
}

fn redaction(section: &Entry<'_>, config: &Config, doubts: &mut Vec<Problem>) {
    for name in config.query_parameters.iter().filter(|name| name.contains(['=', '&', '?', '*', ' ', '\n'])) {
        doubts.push(section.problem(format_args!(
            "{name:?} is no name of a query parameter: it never matches; patterns have no meaning here"
        )));
    }
}

/// What is doubtful in a pattern of `trace --exe` or `--cmdline`.
pub(crate) fn of_rule(rule: &Rule) -> Option<String> {
    // A bare name is what one types at a shell.
    let exe = rule.exe.as_ref().filter(|glob| glob.pattern().contains('/'));
    let exe = exe.and_then(|glob| executable(glob.pattern()));
    exe.or_else(|| rule.cmdline.as_ref().and_then(|glob| command_line(glob.pattern())))
}

/// What is doubtful once the environment has filled in what the file leaves out.
pub(super) fn of_export(config: &Config) -> Vec<String> {
    let Some(otlp) = &config.export.otlp else { return Vec::new() };
    let mut doubts = otlp.doubts();
    let timeout = otlp.timeout();
    if timeout.as_millis() < SHORT_TIMEOUT {
        doubts.push(format!(
            "export.otlp.timeout is {} ms, in which few collectors answer (OTEL_EXPORTER_OTLP_TIMEOUT is in milliseconds)",
            timeout.as_millis()
        ));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Config {
        Config::parse("c.yaml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn warnings(text: &str) -> Vec<String> {
        parsed(text).warnings()
    }

    #[test]
    fn doubtful_settings_are_named_with_their_place() {
        const CONSOLE: &str = "\nexport: { console: {} }\n";
        const SELECT: &str = "select: [ { exe: \"*/x\" } ]\n";
        let selected = |rule: &str| format!("select: [ {{ {rule} }} ]{CONSOLE}");
        let exported = |export: &str| format!("{SELECT}export: {{ {export} }}\n");
        for (text, part) in [
            (selected("exe: curl"), "as */curl"),
            (selected("exe: bin/curl"), "begin with /"),
            (selected("exe: ./curl"), "begin with /"),
            (selected("exe: ~/curl"), "the whole path"),
            (selected("exe: \"/opt/x \""), "blanks"),
            (selected("exe: /opt//x"), "never matches"),
            (selected("exe: /proc/self/exe"), "is a link to"),
            (selected("exe: /srv/orders.jar"), "by cmdline"),
            (selected("pid: 4194304"), "no process"),
            (selected("cmdline: orders"), "\"*orders*\""),
            (selected("cmdline: \" *orders*\""), "blanks"),
            (selected("cmdline: \"*a\\nb*\""), "line break within"),
            (selected("cgroup: /system.slice/*"), "no pattern"),
            (selected("cgroup: \"/system.slice \""), "never matches"),
            (selected("exe: /x }, { exe: /x"), "twice"),
            (format!("exclude: [ {{ exe: /x }} ]\n{}", selected("exe: /x, service: a")), "never selects"),
            (format!("select:\n  - cmdline: |\n      *orders*\n{CONSOLE}"), "line break at the end"),
            (format!("select:\n  - exe: |\n      /x\n{CONSOLE}"), "line break at the end"),
            (exported("file: { path: spans.jsonl }"), "relative"),
            (exported("otlp: { certificate: ~/ca.pem }"), "the whole path"),
            (exported("otlp: { endpoint: \"http://c:4318/v1/traces\" }"), "taken as it is"),
            (exported("otlp: { timeout: 10ms }"), "milliseconds"),
            (format!("{SELECT}limits: {{ idle: 5s }}{CONSOLE}"), "idle of 5s"),
            (format!("{SELECT}limits: {{ parent_wait: 10ms }}{CONSOLE}"), "lose their parents"),
            (format!("{SELECT}limits: {{ queue_spans: 10 }}{CONSOLE}"), "each burst"),
            (format!("{SELECT}redaction: {{ query_parameters: [ \"a=\" ] }}{CONSOLE}"), "never matches"),
        ] {
            let warnings = warnings(&text);
            assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
            assert!(warnings[0].contains(part), "{text}: {warnings:?}");
        }
        assert!(
            warnings(&selected("exe: curl"))[0].starts_with("c.yaml:1:18: exe: "),
            "{:?}",
            warnings(&selected("exe: curl"))
        );
        assert_eq!(warnings(Config::example()), Vec::<String>::new());
    }

    #[test]
    fn a_bare_name_and_a_block_mean_what_they_say() {
        let text = "select:\n  - exe: curl\n  - cmdline: |\n      *orders*\nexport: { console: {} }\n";
        let config = Config::parse("c.yaml", text).unwrap();
        let [exe, cmdline] = &config.selection.select[..] else { panic!("two rules") };
        assert!(exe.exe.as_ref().unwrap().matches("/usr/bin/curl"));
        assert!(cmdline.cmdline.as_ref().unwrap().matches("java -jar orders.jar"));
    }

    #[test]
    fn an_endpoint_in_the_environment_that_nobody_uses_is_told() {
        let environment =
            |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://c:4318".to_owned());
        let mut config = parsed("select: [ { port: 80 } ]\nexport: { console: {} }\n");
        assert_eq!(config.apply_environment(environment), []);
        assert!(config.warnings()[0].contains("OTEL_EXPORTER_OTLP_ENDPOINT is set and has no effect"));
        let mut config = parsed("select: [ { port: 80 } ]\nexport: { otlp: {} }\n");
        assert_eq!(config.apply_environment(environment), []);
        assert_eq!(config.warnings(), Vec::<String>::new());
    }
}
