//! Tables of what proxies say and what becomes of it.

use proptest::prelude::*;

use super::*;

fn fields<'a>(lines: &[(&'a str, &'a str)]) -> Vec<(CompactString, Cow<'a, str>)> {
    lines.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// `client scheme host`: `-` if missing, `?` if hidden; then `!` if something was malformed.
fn claims(trust: &[&str], peer: &str, lines: &[(&str, &str)]) -> String {
    let forwarded = Forwarded::parse(trust.iter().copied()).unwrap();
    let fields = fields(lines);
    let Some(claims) = forwarded.claims(peer.parse().unwrap(), &fields) else { return "nothing".to_owned() };
    let client = match claims.client {
        None => "-".to_owned(),
        Some(Client::Hidden) => "?".to_owned(),
        Some(Client::Known(address, None)) => address.to_string(),
        Some(Client::Known(address, Some(port))) => format!("{address}|{port}"),
    };
    let malformed = if claims.malformed { " !" } else { "" };
    format!("{client} {} {}{malformed}", claims.scheme.unwrap_or("-"), claims.host.unwrap_or("-"))
}

#[test]
fn the_customary_fields() {
    const FOR: &str = "x-forwarded-for";
    const HOST: &str = "x-forwarded-host";
    const PROTO: &str = "x-forwarded-proto";
    let rows: [(&[(&str, &str)], &str); 24] = [
        (&[], "nothing"),
        (&[("x-request-id", "1")], "nothing"),
        (
            &[(FOR, "203.0.113.7, 10.0.0.1"), (PROTO, "https"), (HOST, "shop.example")],
            "203.0.113.7 https shop.example",
        ),
        (&[(FOR, "203.0.113.7")], "203.0.113.7 - -"),
        (&[(FOR, "203.0.113.7:5678")], "203.0.113.7|5678 - -"),
        (&[(FOR, "2001:db8::1")], "2001:db8::1 - -"),
        (&[(FOR, "[2001:db8::1]")], "2001:db8::1 - -"),
        (&[(FOR, "[2001:db8::1]:80")], "2001:db8::1|80 - -"),
        (&[(FOR, "::ffff:203.0.113.7")], "203.0.113.7 - -"),
        // Several lines are one list, and empty values are ignored.
        (&[(FOR, "203.0.113.7"), (FOR, ", 10.0.0.1,")], "203.0.113.7 - -"),
        // What the client invented comes before what the first trusted proxy saw.
        (&[(FOR, "8.8.8.8, 203.0.113.7")], "203.0.113.7 - -"),
        (&[(FOR, "8.8.8.8"), (FOR, "203.0.113.7, 10.0.0.1")], "203.0.113.7 - -"),
        (&[(FOR, "nonsense, 203.0.113.7")], "203.0.113.7 - -"),
        (&[(FOR, "203.0.113.7"), (PROTO, "https, http")], "203.0.113.7 http -"),
        (&[(FOR, "203.0.113.7"), (HOST, "bank.example, shop.example")], "203.0.113.7 - shop.example"),
        // A chain: each proxy appended a value, or the inner one kept the value of the outer one.
        (&[(FOR, "203.0.113.7, 10.0.0.1"), (PROTO, "https, http")], "203.0.113.7 https -"),
        (&[(FOR, "203.0.113.7, 10.0.0.1"), (PROTO, "https")], "203.0.113.7 https -"),
        // A client within the trusted network.
        (&[(FOR, "10.0.0.9, 10.0.0.1")], "10.0.0.9 - -"),
        (&[(FOR, "unknown")], "? - -"),
        (&[(FOR, "_secret, 10.0.0.1")], "? - -"),
        (&[(FOR, "shop.example")], "- - - !"),
        (&[(FOR, "203.0.113.7:99999")], "- - - !"),
        (&[(PROTO, "WSS"), (HOST, "shop.example:8443")], "- https shop.example:8443"),
        (&[(PROTO, "gopher"), (HOST, "a b")], "- - - !"),
    ];
    for (lines, expected) in rows {
        assert_eq!(claims(&["private"], "127.0.0.1", lines), expected, "{lines:?}");
    }
}

#[test]
fn the_standard_field() {
    let rows: [(&[&str], &str); 24] = [
        (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60 http -"),
        (
            &["for=203.0.113.7; proto=https; host=shop.example, for=10.0.0.1;proto=http;host=inner"],
            "203.0.113.7 https shop.example",
        ),
        (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17|4711 - -"),
        (&["for=\"203.0.113.7:80\";Host=\"shop.example:8080\""], "203.0.113.7|80 - shop.example:8080"),
        (&["for=\"203.0.113.7:_port\""], "203.0.113.7 - -"),
        (&["for=unknown"], "? - -"),
        (&["for=_gazonk;proto=https"], "? https -"),
        (&["for=203.0.113.7", "for=10.0.0.1;proto=https"], "203.0.113.7 https -"),
        (&["for=1.2.3.4;proto=http, for=203.0.113.7;proto=https"], "203.0.113.7 https -"),
        (&["proto=https"], "- https -"),
        (&["for=203.0.113.7;ext=\"a,b;c\\\"d\""], "203.0.113.7 - -"),
        (&["for=203.0.113.7;;"], "203.0.113.7 - -"),
        // Not as RFC 7239 requires.
        (&["for=[2001:db8::1]"], "2001:db8::1 - -"),
        (&["for=\"203.0.113.7"], "- - - !"),
        (&["for"], "- - - !"),
        (&["for=\"[2001:db8::1\""], "- - - !"),
        (&["for=203.0.113.7;for=1.2.3.4"], "- - - !"),
        (&["for=shop.example"], "- - - !"),
        (&["for=\"203.0.113.7:0\""], "- - - !"),
        (&["for=203.0.113.7;proto=gopher"], "- - - !"),
        (&["203.0.113.7"], "- - - !"),
        (&["for=\"\\203.0.113.7\""], "- - - !"),
        (&[""], "- - - !"),
        (&[","], "- - - !"),
    ];
    for (lines, expected) in rows {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        assert_eq!(claims(&["private"], "10.1.2.3", &lines), expected, "{lines:?}");
    }
    let both = [
        ("forwarded", "for=203.0.113.7"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-proto", "https"),
    ];
    assert_eq!(claims(&["private"], "10.1.2.3", &both), "203.0.113.7 - -", "the standard one alone");
    let broken = [("forwarded", "for"), ("x-forwarded-for", "198.51.100.1")];
    assert_eq!(claims(&["private"], "10.1.2.3", &broken), "198.51.100.1 - - !");
    let long = "for=10.0.0.1,".repeat(PROXIES + 1);
    assert_eq!(claims(&["private"], "10.1.2.3", &[("forwarded", &long)]), "- - - !");
}

#[test]
fn only_peers_in_trusted_networks_are_trusted() {
    let line = [("x-forwarded-for", "198.51.100.1, 203.0.113.5")];
    for (trust, peer, expected) in [
        (&["private"][..], "127.0.0.1", "203.0.113.5 - -"),
        (&["private"], "::1", "203.0.113.5 - -"),
        (&["private"], "::ffff:192.168.3.4", "203.0.113.5 - -"),
        (&["private"], "172.31.255.255", "203.0.113.5 - -"),
        (&["private"], "172.32.0.0", "nothing"),
        (&["private"], "fd00::1", "203.0.113.5 - -"),
        (&["private"], "8.8.8.8", "nothing"),
        (&["private"], "2001:db8::1", "nothing"),
        (&["none"], "127.0.0.1", "nothing"),
        (&[], "127.0.0.1", "nothing"),
        (&["all"], "8.8.8.8", "198.51.100.1 - -"),
        (&["8.8.8.0/24", "203.0.113.5"], "8.8.8.8", "198.51.100.1 - -"),
        (&["8.8.8.0/24"], "8.8.9.8", "nothing"),
        (&["2001:db8::/32"], "2001:db8:1::1", "203.0.113.5 - -"),
    ] {
        assert_eq!(claims(trust, peer, &line), expected, "{trust:?} {peer}");
    }
    for text in ["", "10.0.0.0/33", "::/129", "10/8", "everybody", "10.0.0.0/-1"] {
        assert!(Forwarded::parse([text]).is_err(), "{text}");
    }
}

#[test]
fn logs_hold_networks_as_texts() {
    let text = serde_json::to_string(&Forwarded::default()).unwrap();
    assert!(text.contains("\"10.0.0.0/8\"") && text.contains("\"fc00::/7\""), "{text}");
    assert_eq!(serde_json::from_str::<Forwarded>(&text).unwrap(), Forwarded::default());
    assert!(serde_json::from_str::<Forwarded>("[\"x\"]").is_err());
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_harm(
        lines in prop::collection::vec((0..4_usize, "[ -~]{0,40}"), 0..6),
        all in any::<bool>(),
    ) {
        let forwarded = Forwarded::parse([if all { "all" } else { "private" }]).unwrap();
        let fields: Vec<_> = lines.iter().map(|(name, value)| (FIELDS[*name].into(), value.into())).collect();
        let _ = forwarded.claims("10.0.0.1".parse().unwrap(), &fields);
    }
}
