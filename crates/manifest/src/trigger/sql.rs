//! `postgresql` and `mysql`: one number from a query.

use super::params::{AE, AM, Given, MA, MAE, Param, Reader, Secret, float, param, text};
use super::{FaultKind, Parsed, Source, name_part};

/// The parameters of a `postgresql` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgreSql {
    /// `query`.
    pub query: String,
    /// `targetQueryValue`; 0 where there is none.
    pub target_query_value: f64,
    /// `activationTargetQueryValue`.
    pub activation_target_query_value: f64,
    /// `connection`, a whole connection string; else the parts below.
    pub connection: Option<Secret>,
    /// `host`.
    pub host: Option<Given<String>>,
    /// `port`.
    pub port: Option<Given<String>>,
    /// `userName`.
    pub user_name: Option<Given<String>>,
    /// `dbName`.
    pub db_name: Option<Given<String>>,
    /// `sslmode`.
    pub sslmode: Option<Given<String>>,
    /// `password`.
    pub password: Option<Secret>,
}

/// The parameters of a `mysql` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct MySql {
    /// `query`.
    pub query: String,
    /// `queryValue`.
    pub query_value: f64,
    /// `activationQueryValue`.
    pub activation_query_value: f64,
    /// `connectionString`, a whole connection string; else the parts below.
    pub connection_string: Option<Secret>,
    /// `host`.
    pub host: Option<Given<String>>,
    /// `port`.
    pub port: Option<Given<String>>,
    /// `username`.
    pub username: Option<Secret>,
    /// `dbName`.
    pub db_name: Option<Given<String>>,
    /// `password`.
    pub password: Option<Secret>,
}

pub(super) fn parse_postgresql(reader: &mut Reader<'_>) -> Option<Parsed> {
    const CONNECTION: Param = param(&["connection"], AE);
    const PARTS: [Param; 5] = [
        param(&["host"], AM),
        param(&["port"], AM),
        param(&["userName"], AM),
        param(&["dbName"], AM),
        param(&["sslmode"], AM),
    ];
    let [host, port, user_name, db_name, sslmode] = PARTS.map(|part| reader.optional(part, text));
    let source = PostgreSql {
        query: reader.needed("query", text),
        target_query_value: reader.or("targetQueryValue", 0.0, float),
        activation_target_query_value: reader.or("activationTargetQueryValue", 0.0, float),
        connection: reader.secret(CONNECTION),
        host,
        port,
        user_name,
        db_name,
        sslmode,
        password: reader.secret(param(&["password"], AE)),
    };
    if reader.lacks(CONNECTION) {
        for part in PARTS {
            needs_part(reader, part, "connection");
        }
    }
    if !reader.has_modifiers() {
        needs_target(reader, "targetQueryValue");
    }
    let goal = reader.goal("targetQueryValue", source.target_query_value);
    let activation = source.activation_target_query_value;
    Some(Parsed::new("postgresql".to_owned(), goal, activation, Source::PostgreSql(source)))
}

pub(super) fn parse_mysql(reader: &mut Reader<'_>) -> Option<Parsed> {
    const CONNECTION: Param = param(&["connectionString"], AE);
    const HOST: Param = param(&["host"], MA);
    const PORT: Param = param(&["port"], MA);
    let source = MySql {
        query: reader.needed("query", text),
        query_value: reader.needed("queryValue", float),
        activation_query_value: reader.or("activationQueryValue", 0.0, float),
        connection_string: reader.secret(CONNECTION),
        host: reader.optional(HOST, text),
        port: reader.optional(PORT, text),
        username: reader.secret(param(&["username"], MAE)),
        db_name: reader.optional(param(&["dbName"], MA), text),
        password: reader.secret(param(&["password"], AE)),
    };
    // KEDA notices only when it connects.
    if reader.lacks(CONNECTION) {
        needs_part(reader, HOST, "connectionString");
        needs_part(reader, PORT, "connectionString");
    }
    let goal = reader.goal("queryValue", source.query_value);
    // With a connection string the name is cut out of it, which only a run can do.
    let database = match &source.connection_string {
        Some(_) => "*",
        None if source.db_name.is_none() && reader.declared.auth_parameters.is_some() => "",
        None => name_part(source.db_name.as_ref()),
    };
    let name = format!("mysql-{database}");
    let activation = source.activation_query_value;
    Some(Parsed::new(name, goal, activation, Source::MySql(source)))
}

/// A part of a connection that is nowhere, while the whole is not there either.
fn needs_part(reader: &mut Reader<'_>, part: Param, whole: &str) {
    if reader.lacks(part) {
        let name = part.names[0];
        let help = format!(
            "Set {name}, or give the whole connection as {whole}FromEnv or in a TriggerAuthentication."
        );
        reader.fault(name, FaultKind::MissingRequired, format!("no {name} given"), &help);
    }
}

/// A target that is optional only under `scalingModifiers`. One of 0 counts as none, as it does upstream.
pub(super) fn needs_target(reader: &mut Reader<'_>, key: &'static str) {
    if reader.declared.metadata.get(key).is_none_or(|text| text.trim().is_empty()) {
        reader.fault(
            key,
            FaultKind::MissingRequired,
            format!("no {key} given"),
            "Set it to the load one replica should carry.",
        );
    }
}

#[cfg(test)]
#[path = "tests/sql.rs"]
mod tests;
