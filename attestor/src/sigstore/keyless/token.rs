//! The identity token: where it is, how a CI system gives one, and what it says.
//!
//! A token is not verified here; the authority does that. What is read of it is only what can be refused
//! early, and what the certificate will probably say. It is wiped when dropped and is in no error: what a
//! service answers is told without it ([`Token::scrub`]).
//!
//! Sources: GitHub, "OpenID Connect reference"; GitLab, "OpenID Connect authentication using ID tokens";
//! Buildkite, agent REST API, `oidc/tokens`; Fulcio, docs/oidc.md (what a certificate names).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use model::text::escape;
use serde::Deserialize;
use serde_json::{Map, Value};
use sigstore_sign::reqwest::{self, Client, RequestBuilder, Url};
use zeroize::Zeroizing;

use super::http;
use crate::signer::{Ci, TokenPlace};

/// Largest token, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Where others too look for a token that a platform mounts.
pub(crate) const MOUNTED: &str = "/var/run/sigstore/cosign/oidc-token";
/// Shortest part of a token that is taken out of what is told.
const PART_BYTES_MIN: usize = 8;
/// So much of a part in a row, whatever stands between, is too much to tell, in bytes.
const FRAGMENT_BYTES: usize = 24;
/// Longest answer of a service that is told, in letters.
const TOLD_MAX: usize = 400;

/// A file's content, none, or why it can not be read.
pub(crate) type Read = Result<Option<Zeroizing<Vec<u8>>>, String>;

/// How the process reads its variables and files.
pub(crate) struct Ambient<'a> {
    /// A variable that is set and not empty.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// A file's content; none if there is no such file. An error is told as it stands.
    pub(crate) file: &'a dyn Fn(&std::path::Path) -> Read,
}

/// An identity token.
pub(super) struct Token {
    raw: Zeroizing<String>,
    claims: Map<String, Value>,
}

/// Why there is no token, or none that could serve. Holds no part of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("there is no identity token: {looked}")]
    None { looked: String },
    #[error("this {ci} job may not ask for an identity token: {variable} is not set")]
    NotGiven { ci: &'static str, variable: &'static str },
    #[error("read the identity token from {}: {reason}", path.display())]
    File { path: std::path::PathBuf, reason: String },
    #[error("{url} is no address that a secret may be sent to: neither https nor of this host")]
    Plain { url: String },
    #[error("ask {ci} for an identity token: {reason}")]
    Ask { ci: &'static str, reason: String },
    #[error("{ci} gave no identity token: {reason}")]
    Refused { ci: &'static str, reason: String },
    #[error("the identity token is no JSON web token with `iss`, `sub`, `aud` and `exp`")]
    Shape,
    #[error("the identity token ran out at {at}")]
    Expired { at: String },
    #[error("the identity token is for {got} and not for `{expected}`")]
    Audience { expected: String, got: String },
}

#[derive(Deserialize)]
struct GithubAnswer {
    value: String,
}

#[derive(Deserialize)]
struct BuildkiteAnswer {
    token: String,
}

impl Token {
    /// Finds a token for this audience, and refuses one that could not serve. `now` is in seconds since 1970.
    pub(super) async fn obtain(
        place: &TokenPlace,
        audience: &str,
        ambient: &Ambient<'_>,
        client: &Client,
        now: i64,
    ) -> Result<Token, TokenError> {
        let given = |name: &str| (ambient.variable)(name).map(Zeroizing::new);
        let raw = match place {
            TokenPlace::Variable(name) => given(name)
                .ok_or_else(|| TokenError::None { looked: format!("{name} is not set") })?,
            TokenPlace::File(path) => from_file(ambient, path)?.ok_or_else(|| {
                TokenError::None { looked: format!("there is no file {}", path.display()) }
            })?,
            TokenPlace::Ci(ci) => from_ci(*ci, audience, ambient, client).await?,
            TokenPlace::Ambient => match (given("SIGSTORE_ID_TOKEN"), detect(ambient)) {
                (Some(token), _) => token,
                (None, Some(ci)) => from_ci(ci, audience, ambient, client).await?,
                (None, None) => from_file(ambient, MOUNTED.as_ref())?.ok_or_else(|| {
                    let looked = "SIGSTORE_ID_TOKEN is not set, this is no job of GitHub, GitLab, \
                                  Buildkite or CircleCI, and no file is at ";
                    TokenError::None { looked: format!("{looked}{MOUNTED}") }
                })?,
            },
        };
        let token = Token::read(&raw)?;
        token.check(audience, now)?;
        Ok(token)
    }

    fn read(raw: &str) -> Result<Token, TokenError> {
        let raw = raw.trim();
        let parts: Vec<&str> = raw.split('.').collect();
        let [_, payload, _] = parts.as_slice() else { return Err(TokenError::Shape) };
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Shape)?;
        let claims = serde_json::from_slice(&payload).map_err(|_| TokenError::Shape)?;
        let token = Token { raw: Zeroizing::new(raw.to_owned()), claims };
        let whole = raw.len() <= TOKEN_BYTES_MAX
            && token.text("iss").is_some()
            && token.text("sub").is_some()
            && token.claims.contains_key("aud")
            && token.ends().is_some();
        if whole { Ok(token) } else { Err(TokenError::Shape) }
    }

    fn check(&self, audience: &str, now: i64) -> Result<(), TokenError> {
        let ends = self.ends().unwrap_or_default();
        if ends <= now {
            let at = jiff::Timestamp::from_second(ends).map(|at| at.to_string());
            return Err(TokenError::Expired { at: at.unwrap_or_else(|_| ends.to_string()) });
        }
        let got: Vec<&str> = match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if got.contains(&audience) {
            return Ok(());
        }
        let got = got.iter().map(|one| format!("`{}`", escape(one.as_bytes())));
        Err(TokenError::Audience {
            expected: audience.to_owned(),
            got: got.collect::<Vec<_>>().join(", "),
        })
    }

    fn ends(&self) -> Option<i64> {
        let ends = self.claims.get("exp")?;
        // Some issuers write a fraction; what is cut off is less than a second.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "out of range saturates, and is late or far"
        )]
        ends.as_i64().or_else(|| ends.as_f64().map(|seconds| seconds as i64))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// Returns the token itself, for the authority alone.
    pub(super) fn expose(&self) -> &str {
        &self.raw
    }

    /// Returns who vouches for the identity, escaped.
    pub(super) fn issuer(&self) -> String {
        escape(self.text("iss").unwrap_or_default().as_bytes())
    }

    /// Returns what a certificate for this token will name, where it can be told from the claims: a mail
    /// address, or the workflow or pipeline. It is a guess, and nothing is believed for it.
    pub(super) fn subject(&self) -> Option<String> {
        let text = |name| self.text(name);
        let told = text("email").map(str::to_owned);
        let told = told.or_else(|| {
            let server = text("job_workflow_ref").map(|_| "https://github.com");
            Some(format!("{}/{}", server?, text("job_workflow_ref")?))
        });
        let told = told.or_else(|| Some(format!("https://{}", text("ci_config_ref_uri")?)));
        let told = told.or_else(|| {
            let (group, pipeline) = (text("organization_slug")?, text("pipeline_slug")?);
            Some(format!("https://buildkite.com/{group}/{pipeline}"))
        });
        let told =
            told.or_else(|| text("sub").filter(|sub| sub.contains("://")).map(str::to_owned));
        told.map(|subject| escape(subject.as_bytes()))
    }

    /// Returns what a service said, short, escaped and without any part of the token.
    pub(super) fn scrub(&self, said: &str) -> String {
        let mut said = said.replace(self.raw.as_str(), "[token]");
        for part in self.raw.split('.').filter(|part| part.len() >= PART_BYTES_MIN) {
            said = said.replace(part, "[token]");
        }
        // A part that was broken up is still a token to whoever puts it together again.
        let run: String = said.chars().filter(|one| is_of_a_token(*one)).collect();
        let parts = self.raw.split('.').map(str::as_bytes);
        let told = parts
            .flat_map(|part| part.windows(FRAGMENT_BYTES))
            .any(|piece| std::str::from_utf8(piece).is_ok_and(|piece| run.contains(piece)));
        if told { "[an answer that repeats the token]".to_owned() } else { short(&said) }
    }
}

/// Says whether base64 for URLs has this character.
fn is_of_a_token(one: char) -> bool {
    one.is_ascii_alphanumeric() || one == '-' || one == '_'
}

/// Returns what a service said, in one line and escaped.
fn short(said: &str) -> String {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    escape(line.chars().take(TOLD_MAX).collect::<String>().as_bytes())
}

/// Says in which CI system this process runs.
fn detect(ambient: &Ambient<'_>) -> Option<Ci> {
    let all = [
        ("GITHUB_ACTIONS", Ci::Github),
        ("GITLAB_CI", Ci::Gitlab),
        ("BUILDKITE", Ci::Buildkite),
        ("CIRCLECI", Ci::Circleci),
    ];
    all.into_iter()
        .find(|(name, _)| (ambient.variable)(name).as_deref() == Some("true"))
        .map(|(_, ci)| ci)
}

fn from_file(
    ambient: &Ambient<'_>,
    path: &std::path::Path,
) -> Result<Option<Zeroizing<String>>, TokenError> {
    let refuse = |reason: String| TokenError::File { path: path.to_owned(), reason };
    let Some(bytes) = (ambient.file)(path).map_err(refuse)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).map_err(|_| TokenError::Shape)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Has the CI system give its job a token. CircleCI gives one of another audience only by a program of its
/// own, and none is started here: there the job does so itself, as a job of GitLab is given one.
async fn from_ci(
    ci: Ci,
    audience: &str,
    ambient: &Ambient<'_>,
    client: &Client,
) -> Result<Zeroizing<String>, TokenError> {
    let given = |ci, variable: &'static str| {
        (ambient.variable)(variable).ok_or(TokenError::NotGiven { ci, variable })
    };
    match ci {
        Ci::Gitlab => given("GitLab", "SIGSTORE_ID_TOKEN").map(Zeroizing::new),
        Ci::Circleci => given("CircleCI", "SIGSTORE_ID_TOKEN").map(Zeroizing::new),
        Ci::Github => {
            let url = given("GitHub", "ACTIONS_ID_TOKEN_REQUEST_URL")?;
            let secret = Zeroizing::new(given("GitHub", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")?);
            let mut url = guarded(&url)?;
            url.query_pairs_mut().append_pair("audience", audience);
            let asked = client.get(url).bearer_auth(secret.as_str());
            let answer: GithubAnswer = ask("GitHub", asked, &secret).await?;
            Ok(Zeroizing::new(answer.value))
        }
        Ci::Buildkite => {
            let place = given("Buildkite", "BUILDKITE_AGENT_ENDPOINT")?;
            let secret = Zeroizing::new(given("Buildkite", "BUILDKITE_AGENT_ACCESS_TOKEN")?);
            let job = given("Buildkite", "BUILDKITE_JOB_ID")?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if !job.bytes().all(plain) {
                return Err(TokenError::NotGiven { ci: "Buildkite", variable: "BUILDKITE_JOB_ID" });
            }
            let url = format!("{}/jobs/{job}/oidc/tokens", place.trim_end_matches('/'));
            let asked = client
                .post(guarded(&url)?)
                .header("Authorization", format!("Token {}", secret.as_str()))
                .json(&serde_json::json!({"audience": audience}));
            let answer: BuildkiteAnswer = ask("Buildkite", asked, &secret).await?;
            Ok(Zeroizing::new(answer.token))
        }
    }
}

fn guarded(text: &str) -> Result<Url, TokenError> {
    let url = Url::parse(text).ok().filter(http::is_guarded);
    url.ok_or_else(|| TokenError::Plain { url: escape(text.as_bytes()) })
}

/// Sends a request and reads a short JSON answer.
async fn ask<T: for<'de> Deserialize<'de>>(
    ci: &'static str,
    request: RequestBuilder,
    secret: &str,
) -> Result<T, TokenError> {
    let clean = |reason: &str| short(&reason.replace(secret, "[token]"));
    let lost = |error: reqwest::Error| TokenError::Ask { ci, reason: clean(&http::causes(&error)) };
    let answer = request.send().await.map_err(lost)?;
    let status = answer.status();
    let bytes = Zeroizing::new(http::short(answer).await.map_err(lost)?.unwrap_or_default());
    let told = || clean(&format!("{status}: {}", String::from_utf8_lossy(&bytes)));
    match status.as_u16() {
        200..300 => serde_json::from_slice(&bytes).map_err(|_| TokenError::Refused {
            ci,
            reason: "its answer holds no token".to_owned(),
        }),
        408 | 429 | 500.. => Err(TokenError::Ask { ci, reason: told() }),
        _ => Err(TokenError::Refused { ci, reason: told() }),
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
