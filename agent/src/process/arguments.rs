//! Command-line arguments fit to be exported: secrets replaced, count and length bounded.
//!
//! A secret is the value of an option, variable, header or query parameter whose name says so
//! ([`SECRET_WORDS`]), the user and password in a URL, and the value of `-u user:password`. A
//! secret in a bare positional argument cannot be recognised; the collector can drop the attribute
//! where programs get such arguments.

/// Arguments that are kept.
const MAX_ARGUMENTS: usize = 64;
/// Bytes of one argument that are kept.
const MAX_ARGUMENT: usize = 512;
/// Bytes of all arguments together that are kept.
const MAX_TOTAL: usize = 4096;
/// Takes the place of what was cut.
const CUT: &str = "…";

const REDACTED: &str = "REDACTED";

/// A name is a secret's when one of these is in it, letters and digits alone compared:
/// `--db-password`, `API_KEY`.
const SECRET_WORDS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
    "signature",
    "authkey",
];
/// A name is a secret's when it ends with one of these as a word of its own: `--pass`, `db.pwd`.
const SECRET_ENDINGS: [&str; 4] = ["pass", "pwd", "auth", "pw"];

/// Between these, `name=value` pairs stand in one argument: query strings, connection strings.
const PAIR_SEPARATORS: [char; 8] = ['?', '&', ';', ',', ' ', '\t', '\n', '#'];

/// The arguments without secrets and within the limits; a last element `…` says that some were left
/// out.
pub(super) fn exportable(arguments: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut total = 0;
    let mut value_of = None;
    for argument in arguments {
        let previous = value_of.replace(argument.as_str());
        let mut text = match previous {
            Some(option) if announces_secret(option) && !argument.starts_with('-') => REDACTED.to_owned(),
            Some("-u" | "--user" | "--proxy-user" | "-U") if argument.contains(':') => REDACTED.to_owned(),
            _ => redact(argument),
        };
        cut(&mut text, MAX_ARGUMENT);
        total += text.len();
        if kept.len() == MAX_ARGUMENTS || total > MAX_TOTAL {
            kept.push(CUT.to_owned());
            break;
        }
        kept.push(text);
    }
    kept
}

/// An option like `--token`, whose value is the next argument.
fn announces_secret(option: &str) -> bool {
    option.starts_with('-') && !option.contains(['=', ' ']) && is_secret_name(option)
}

fn redact(argument: &str) -> String {
    if let Some((name, separator)) = leading_name(argument)
        && is_secret_name(name)
    {
        return format!("{name}{separator}{REDACTED}");
    }
    redact_pairs(&redact_userinfo(argument))
}

/// The name before the first `=` of an option or variable, or before the `: ` of a header field.
fn leading_name(argument: &str) -> Option<(&str, &str)> {
    let end = argument.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')))?;
    let (name, rest) = argument.split_at(end);
    if rest.starts_with('=') {
        return Some((name, "="));
    }
    // `C:\x` and `host:port` are no header fields, but neither has a secret's name.
    rest.starts_with(':').then_some((name, ": "))
}

/// `name=value` inside an argument: the value ends at the next separator.
fn redact_pairs(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for segment in text.split_inclusive(PAIR_SEPARATORS) {
        let body = segment.trim_end_matches(PAIR_SEPARATORS);
        match body.split_once('=') {
            Some((name, _)) if is_secret_name(name) => {
                result.push_str(name);
                result.push('=');
                result.push_str(REDACTED);
                result.push_str(&segment[body.len()..]);
            }
            _ => result.push_str(segment),
        }
    }
    result
}

/// `scheme://user:password@host` for every URL in the text (RFC 3986 section 3.2.1).
fn redact_userinfo(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (scheme, after) = rest.split_at(start + "://".len());
        result.push_str(scheme);
        let authority_end = after.find(['/', '?', '#', ' ', '"', '\'', '<', '>']).unwrap_or(after.len());
        let (authority, tail) = after.split_at(authority_end);
        match authority.rsplit_once('@') {
            Some((userinfo, host)) => {
                result.push_str(if userinfo.contains(':') { "REDACTED:REDACTED@" } else { "REDACTED@" });
                result.push_str(host);
            }
            None => result.push_str(authority),
        }
        rest = tail;
    }
    result.push_str(rest);
    result
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let last_word = name.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    SECRET_WORDS.iter().any(|word| letters.contains(word)) || SECRET_ENDINGS.contains(&last_word)
}

fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push_str(CUT);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exported(arguments: &[&str]) -> Vec<String> {
        exportable(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn secrets_are_replaced() {
        for (arguments, expected) in [
            (&["app", "--password=hunter2&x;y"][..], &["app", "--password=REDACTED"][..]),
            (&["app", "--token", "abc", "--port", "80"], &["app", "--token", "REDACTED", "--port", "80"]),
            (&["app", "--password", "--verbose"], &["app", "--password", "--verbose"]),
            (
                &["java", "-Dspring.datasource.password=s3", "-jar", "a.jar"],
                &["java", "-Dspring.datasource.password=REDACTED", "-jar", "a.jar"],
            ),
            (
                &["env", "API_KEY=k", "AWS_SECRET_ACCESS_KEY=x", "PORT=1"],
                &["env", "API_KEY=REDACTED", "AWS_SECRET_ACCESS_KEY=REDACTED", "PORT=1"],
            ),
            (
                &["app", "postgres://joe:pw@db:5432/shop?sslmode=on"],
                &["app", "postgres://REDACTED:REDACTED@db:5432/shop?sslmode=on"],
            ),
            (&["app", "redis://tok@r", "http://plain/"], &["app", "redis://REDACTED@r", "http://plain/"]),
            (
                &["curl", "http://h/p?a=1&access_token=t&b=2#x"],
                &["curl", "http://h/p?a=1&access_token=REDACTED&b=2#x"],
            ),
            (&["curl", "-H", "Authorization: Bearer abc"], &["curl", "-H", "Authorization: REDACTED"]),
            (&["curl", "-H", "Accept: text/html"], &["curl", "-H", "Accept: text/html"]),
            (&["curl", "-u", "joe:pw"], &["curl", "-u", "REDACTED"]),
            (&["runas", "-u", "joe"], &["runas", "-u", "joe"]),
            (
                &["app", "Server=db;Uid=joe;Pwd=x;Pooling=true"],
                &["app", "Server=db;Uid=joe;Pwd=REDACTED;Pooling=true"],
            ),
            (&["app", "--author=joe", "--bypass", "x"], &["app", "--author=joe", "--bypass", "x"]),
            (&["nginx: worker process"], &["nginx: worker process"]),
        ] {
            assert_eq!(exported(arguments), expected);
        }
    }

    #[test]
    fn count_and_length_are_bounded() {
        let many = vec!["x"; 100];
        let kept = exported(&many);
        assert_eq!(kept.len(), MAX_ARGUMENTS + 1);
        assert_eq!(kept.last().map(String::as_str), Some(CUT));

        let long = "é".repeat(1000);
        let kept = exported(&[&long]);
        assert_eq!(kept, [format!("{}{CUT}", "é".repeat(MAX_ARGUMENT / 2))]);

        let large = vec![long.as_str(); 20];
        let kept = exported(&large);
        assert!(kept.iter().map(String::len).sum::<usize>() <= MAX_TOTAL + CUT.len());
        assert_eq!(kept.last().map(String::as_str), Some(CUT));
    }

    proptest! {
        #[test]
        fn any_arguments_are_answered(arguments in proptest::collection::vec(".*", 0..8)) {
            exportable(&arguments);
        }

        #[test]
        fn a_password_never_survives(prefix in "[a-z]{0,5}", value in "Q[!-~]{3,20}Q") {
            for arguments in [
                vec![format!("--{prefix}-password={value}")],
                vec![format!("{prefix}_PASSWORD={value}")],
                vec!["--password".to_owned(), value.clone()],
            ] {
                let kept = exportable(&arguments).join(" ");
                prop_assert!(!kept.contains(&value), "{}", kept);
            }
        }
    }
}
