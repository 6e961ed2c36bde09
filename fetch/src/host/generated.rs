//! Files that a package's scripts made on the host, without which the package is of no use.
//!
//! No package lists them, so they would be lost with everything else that is nobody's. The table is
//! short on purpose: each row widens what a build sees of the host. They are taken as they lie, which
//! includes what an administrator added, and appear in the provenance under the files of no package.
//!
//! Not taken: keys and certificates of the host itself, which lie in the same folders.

/// What is taken for one package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generated {
    /// The package that must be in the environment.
    pub(super) package: &'static str,
    /// The place, relative to the root.
    pub(super) at: &'static str,
    /// How much of it.
    pub(super) take: Take,
}

/// How much of a place is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// The file or link itself.
    Itself,
    /// The links in this folder that lead, at once or through one another, to files of the environment.
    LinksIn,
}

/// The table, sorted by package and place.
pub(super) const GENERATED: [Generated; 8] = [
    // Programs that check certificates read the one bundle, or look one up by its hashed name.
    Generated { package: "ca-certificates", at: "etc/ssl/certs", take: Take::LinksIn },
    Generated {
        package: "ca-certificates",
        at: "etc/ssl/certs/ca-certificates.crt",
        take: Take::Itself,
    },
    // The same authorities, in the form that Java reads.
    Generated {
        package: "ca-certificates-java",
        at: "etc/ssl/certs/java/cacerts",
        take: Take::Itself,
    },
    // Documentation tools find their style sheets through catalogues instead of the network.
    Generated { package: "sgml-base", at: "etc/sgml/catalog", take: Take::Itself },
    Generated { package: "sgml-base", at: "var/lib/sgml-base/supercatalog", take: Take::Itself },
    Generated { package: "xml-core", at: "etc/xml/catalog", take: Take::Itself },
    Generated { package: "xml-core", at: "etc/xml/docbook-xml.xml", take: Take::Itself },
    Generated { package: "xml-core", at: "etc/xml/docbook-xsl.xml", take: Take::Itself },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(GENERATED.is_sorted_by_key(|row| (row.package, row.at)));
    }
}
