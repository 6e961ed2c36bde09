//! What is read of a token, and what is not told of it.

use std::io::{Read as _, Write as _};

use super::*;

const NOW: i64 = 1_800_000_000;

fn jwt(claims: &Value) -> String {
    let part = |text: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signature = part(b"a signature that nobody may learn");
    format!("{}.{}.{signature}", part(br#"{"alg":"RS256"}"#), part(claims.to_string().as_bytes()))
}

fn claims() -> Value {
    serde_json::json!({
        "iss": "https://issuer.example", "sub": "1", "aud": "sigstore", "exp": NOW + 60,
        "email": "builder@kiln.example",
    })
}

fn obtain(place: &TokenPlace, variables: &[(&str, &str)]) -> Result<Token, TokenError> {
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    // One file, whose content a variable holds.
    let file = |path: &std::path::Path| {
        let is = path == std::path::Path::new("/run/token");
        Ok(variable("FILE").filter(|_| is).map(|text| Zeroizing::new(text.into_bytes())))
    };
    let ambient = Ambient { variable: &variable, file: &file };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let client = http::client().unwrap().0;
    runtime.unwrap().block_on(Token::obtain(place, "sigstore", &ambient, &client, NOW))
}

fn told(result: Result<Token, TokenError>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_token_is_found_where_it_is_said_to_be() {
    let token = jwt(&claims());
    let named = TokenPlace::Variable("MINE".to_owned());
    assert_eq!(obtain(&named, &[("MINE", &token)]).unwrap().expose(), token);
    assert_eq!(
        told(obtain(&named, &[("OTHER", &token)])),
        "there is no identity token: MINE is not set"
    );
    for place in [TokenPlace::Ambient, TokenPlace::Ci(Ci::Gitlab), TokenPlace::Ci(Ci::Circleci)] {
        // White space around it is an editor's, or a shell's.
        let padded = format!(" {token}\n");
        assert_eq!(obtain(&place, &[("SIGSTORE_ID_TOKEN", &padded)]).unwrap().expose(), token);
    }
    let place = TokenPlace::File("/run/token".into());
    let padded = format!("{token}\n");
    assert_eq!(obtain(&place, &[("FILE", &padded)]).unwrap().expose(), token);
    let gone = TokenPlace::File("/run/gone".into());
    assert_eq!(
        told(obtain(&gone, &[("FILE", &padded)])),
        "there is no identity token: there is no file /run/gone"
    );
}

#[test]
fn a_job_that_was_given_nothing_is_told_what_it_lacks() {
    for (flag, variable) in [
        ("GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_URL"),
        ("GITLAB_CI", "SIGSTORE_ID_TOKEN"),
        ("BUILDKITE", "BUILDKITE_AGENT_ENDPOINT"),
        ("CIRCLECI", "SIGSTORE_ID_TOKEN"),
    ] {
        let said = told(obtain(&TokenPlace::Ambient, &[(flag, "true")]));
        assert!(said.ends_with(&format!("identity token: {variable} is not set")), "{said}");
        let said = told(obtain(&TokenPlace::Ambient, &[(flag, "false")]));
        assert!(said.contains("this is no job of"), "{said}");
    }
}

#[test]
fn a_secret_for_a_token_goes_nowhere_in_cleartext() {
    let url = "http://token.example/?api-version=2.0";
    let github =
        [("ACTIONS_ID_TOKEN_REQUEST_URL", url), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cret")];
    let said = told(obtain(&TokenPlace::Ci(Ci::Github), &github));
    assert!(said.contains("neither https nor of this host"), "{said}");
    assert!(!said.contains("s3cret"));
    let buildkite = [
        ("BUILDKITE_AGENT_ENDPOINT", "http://agent.example/v3"),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", "s3cret"),
        ("BUILDKITE_JOB_ID", "0192-ab"),
    ];
    let said = told(obtain(&TokenPlace::Ci(Ci::Buildkite), &buildkite));
    assert!(said.contains("neither https nor of this host"), "{said}");
}

/// Answers one request with a body of 64 MiB; says how much of it was taken, in MiB.
#[expect(clippy::disallowed_types, reason = "a service on this host, for this test")]
fn long_answer() -> (String, std::thread::JoinHandle<usize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 4096];
            let read = peer.read(&mut piece).unwrap();
            asked.extend_from_slice(&piece[..read]);
        }
        peer.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
        let piece = vec![b' '; 1 << 20];
        (0..64).take_while(|_| peer.write_all(&piece).is_ok()).count()
    });
    (url, serving)
}

#[test]
fn an_answer_that_is_longer_than_a_token_is_not_read_to_its_end() {
    let (url, serving) = long_answer();
    let github = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cret"),
    ];
    let said = told(obtain(&TokenPlace::Ci(Ci::Github), &github));
    assert!(said.contains("its answer holds no token"), "{said}");
    let taken = serving.join().unwrap();
    assert!(taken < 64, "all {taken} MiB were taken");
}

#[test]
fn a_token_that_cannot_serve_is_refused_before_anybody_is_asked() {
    let changed = |name: &str, value: Value| {
        let mut all = claims();
        all[name] = value;
        let token = jwt(&all);
        let place = TokenPlace::Variable("T".to_owned());
        let said = obtain(&place, &[("T", &token)]).map(|_| ()).map_err(|error| error.to_string());
        let parts = token.split('.').filter(|part| part.len() >= PART_BYTES_MIN);
        assert!(
            parts
                .into_iter()
                .all(|part| said.as_ref().err().is_none_or(|said| !said.contains(part)))
        );
        said
    };
    assert_eq!(changed("aud", serde_json::json!(["other", "sigstore"])), Ok(()));
    assert_eq!(changed("exp", serde_json::json!(NOW as f64 + 0.5 + 1.0)), Ok(()));
    for ends in [NOW, NOW - 1] {
        let said = changed("exp", ends.into()).unwrap_err();
        assert!(said.starts_with("the identity token ran out at 2027-01-15T0"), "{said}");
    }
    assert_eq!(
        changed("aud", "https://other.example".into()).unwrap_err(),
        "the identity token is for `https://other.example` and not for `sigstore`"
    );
    for (name, value) in [("iss", Value::Null), ("sub", "".into()), ("exp", "soon".into())] {
        assert!(changed(name, value).unwrap_err().contains("is no JSON web token"), "{name}");
    }
    for bad in ["", "a.b", "a.b.c.d", "a.!.c", "only words"] {
        let place = TokenPlace::Variable("T".to_owned());
        assert!(told(obtain(&place, &[("T", bad)])).contains("is no JSON web token"), "{bad}");
    }
}

#[test]
fn what_a_service_says_is_told_without_the_token() {
    let text = jwt(&claims());
    let token = Token::read(&text).unwrap();
    let parts: Vec<&str> = text.split('.').collect();
    let said = format!("bad token {text}; signature {} of {}\u{1b}[31m", parts[2], parts[1]);
    let told = token.scrub(&said);
    assert!(told.starts_with("bad token [token]; signature [token] of [token]"), "{told}");
    assert!(!told.contains('\u{1b}'));
    assert!(token.scrub(&"x".repeat(9000)).len() <= TOLD_MAX);
    let broken: Vec<&str> =
        parts[1].as_bytes().chunks(5).map(|some| std::str::from_utf8(some).unwrap()).collect();
    assert_eq!(
        token.scrub(&format!("bad: {}", broken.join(" "))),
        "[an answer that repeats the token]"
    );
}

#[test]
fn what_a_certificate_will_name_is_told_where_it_is_known() {
    let subject = |claims: Value| {
        let mut all = serde_json::json!({"iss": "i", "sub": "s", "aud": "sigstore", "exp": NOW});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        Token::read(&jwt(&all)).unwrap().subject()
    };
    let told = |text: &str| Some(text.to_owned());
    assert_eq!(subject(serde_json::json!({"email": "a@b.example"})), told("a@b.example"));
    let workflow = "acme/hello/.github/workflows/release.yml@refs/heads/main";
    assert_eq!(
        subject(serde_json::json!({"job_workflow_ref": workflow})),
        told(&format!("https://github.com/{workflow}"))
    );
    let pipeline = "gitlab.example/acme/hello//.gitlab-ci.yml@refs/heads/main";
    assert_eq!(
        subject(serde_json::json!({"ci_config_ref_uri": pipeline})),
        told(&format!("https://{pipeline}"))
    );
    assert_eq!(subject(serde_json::json!({"sub": "spiffe://x/y"})), told("spiffe://x/y"));
    assert_eq!(subject(serde_json::json!({})), None);
}
