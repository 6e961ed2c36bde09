//! What to do about a refusal: one thing for each reason, in words that name the command.
//!
//! `F` and `FILE` stand for files that are not known here; whoever shows it puts theirs in.

use crate::bundle::EvidenceError;
use crate::sigstore::Kind;
use crate::verdict::Reason;

impl Reason {
    /// Returns one thing to do about it, where there is one.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Reason::Signer { .. }
            | Reason::NoIdentity
            | Reason::UnknownIdentity { .. }
            | Reason::NoKey { .. }
            | Reason::NoRoot
            | Reason::NoCertificate { .. }
            | Reason::Sigstore(_)
            | Reason::Builder { .. }
            | Reason::Expired { .. }
            | Reason::NotYetValid { .. }
            | Reason::Revoked { .. } => self.help_with_signer(),
            Reason::Policy(broken) => Some(broken.help),
            Reason::Broken { .. } | Reason::Digest { .. } => {
                Some("get file and bundle again from where they were published")
            }
            Reason::Evidence(EvidenceError::Empty) => {
                Some("get the bundle again from where the file was published")
            }
            Reason::Evidence(_) | Reason::Statement(_) | Reason::BadParameter { .. } => Some(
                "get the bundle again from where the file was published, or name it:  --bundle F",
            ),
            Reason::Manifest { .. } | Reason::ManifestUnreadable(_) => {
                Some("get FILE.dependencies.json again from where the file was published")
            }
            Reason::PayloadType { .. } | Reason::BuildType { .. } => Some(
                "name the evidence that kiln wrote for the file, or ask what made this one:  kiln inspect F",
            ),
            Reason::UnknownParameter { .. } => {
                Some("verify with the kiln that made it, or a newer one:  kiln inspect F names it")
            }
            Reason::Summary { .. } => Some(
                "get the summary of this file, made for this address; what one says:  kiln inspect --raw F",
            ),
            Reason::SummaryByHand { .. } => Some(
                "believe the verifier, if you mean it:  kiln trust add KEYFILE --verifier-id URI, and leave \
                 --key and --identity away",
            ),
            Reason::Source { .. } => Some(
                "see what it was built from:  kiln inspect F. If that is right, name it:  --source URI",
            ),
            Reason::Dirty => {
                Some("ask its builder for one built from a commit without --allow-dirty")
            }
            Reason::NotEnforced { .. } => Some(
                "ask its builder for one built with every guarantee; what this one says:  kiln inspect F",
            ),
            Reason::Commit { .. } => Some(
                "do not use it: kiln writes no such statement. Ask its builder how it came to be;  \
                 kiln inspect --raw F shows all of it",
            ),
            Reason::NotPinned { .. } | Reason::NoInputs => Some(
                "ask its builder for one whose every input is named:  kiln inspect F lists them",
            ),
        }
    }

    /// Returns what to do where nobody who may have signed did.
    fn help_with_signer(&self) -> Option<&'static str> {
        match self {
            Reason::Signer { named: None, .. } => Some(
                "get the builder's public key from its owner by another road and give it with --key, or \
                 add it to trust.toml; if a certificate signed, give the bundle, which has it:  \
                 --bundle FILE.sigstore.json",
            ),
            Reason::Signer { .. } => Some(
                "get the builder's public key from its owner by another road and give it with --key, \
                 or add it to trust.toml",
            ),
            Reason::NoIdentity | Reason::UnknownIdentity { .. } | Reason::NoKey { .. } => Some(
                "name who may have signed, as its owner tells you by another road:  \
                 --identity ID --issuer URL, or for good:  kiln trust add --identity ID --issuer URL \
                 --builder-id URI",
            ),
            Reason::NoRoot => Some(
                "give the instance's trusted root:  --trusted-root F, or lay it as trusted_root.json \
                 beside trust.toml",
            ),
            Reason::NoCertificate { .. } => Some(
                "give the bundle, which has the certificate:  --bundle FILE.sigstore.json, or if a key signed \
                 it, that key:  --key F",
            ),
            Reason::Sigstore(error) => match error.kind {
                Kind::Identity => Some("it was signed by somebody else; ask who should have"),
                Kind::Certificate | Kind::Log | Kind::Time => Some(
                    "if it comes from another instance of Sigstore, give that one's root:  \
                     --trusted-root F, or lay it as trusted_root.json beside trust.toml",
                ),
                Kind::Malformed | Kind::Signature | Kind::Artifact => {
                    Some("get file and bundle again from where they were published")
                }
            },
            Reason::Builder { who: "key", role: "builder", .. } => Some(
                "believe this key for this builder as well, if you mean it:  \
                     kiln trust add KEYFILE --builder-id URI",
            ),
            Reason::Builder { who: "key", .. } => Some(
                "believe this key for this verifier as well, if you mean it:  \
                     kiln trust add KEYFILE --verifier-id URI",
            ),
            Reason::Builder { role: "builder", .. } => Some(
                "believe this identity for this builder as well, if you mean it:  \
                     kiln trust add --identity ID --issuer URL --builder-id URI",
            ),
            Reason::Builder { .. } => Some(
                "believe this identity for this verifier as well, if you mean it:  \
                     kiln trust add --identity ID --issuer URL --verifier-id URI",
            ),
            Reason::Expired { who, .. }
            | Reason::NotYetValid { who, .. }
            | Reason::Revoked { who, .. } => Some(match *who {
                "key" => "ask the builder's owner for a file signed with a key in force",
                _ => "ask the builder's owner for a file signed by an identity in force",
            }),
            _ => None,
        }
    }
}
