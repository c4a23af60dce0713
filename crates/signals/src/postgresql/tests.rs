use super::*;

fn settings(text: &str) -> Settings {
    Settings::parse(text).expect("it is well written")
}

fn complaint(text: &str) -> String {
    Settings::parse(text).expect_err("it is not well written").to_string()
}

#[test]
fn a_url_and_its_words_say_the_same() {
    let url = settings("postgres://ann:p%40ss%20word@db:6432/jobs?sslmode=require&connect_timeout=3");
    let words = settings(
        r"host=db port=6432 user = ann password='p@ss word' dbname=jobs sslmode=require pool_max_conns=4",
    );
    assert_eq!(url, words);
    assert_eq!(url.hosts, [("db".to_owned(), 6432)]);
    assert_eq!(url.password.as_deref(), Some("p@ss word"));
    assert_eq!(url.ssl_mode, SslMode::Require);
}

#[test]
fn several_hosts_have_a_port_each_or_one_for_all() {
    let each = settings("postgresql://a:1,[::1]:2,c/jobs");
    assert_eq!(each.hosts, [("a".to_owned(), 1), ("::1".to_owned(), 2), ("c".to_owned(), 5432)]);
    let all = settings("host=a,b port=7");
    assert_eq!(all.hosts, [("a".to_owned(), 7), ("b".to_owned(), 7)]);
    assert!(complaint("host=a,b,c port=7,8").contains("port"));
    assert!(complaint(&format!("host={}", ["a"; 9].join(","))).contains("8 hosts"));
}

#[test]
fn a_password_may_hold_any_letter() {
    assert_eq!(settings(r"host=a password='it\'s \\'").password.as_deref(), Some(r"it's \"));
    assert_eq!(settings("postgres://u:a@b:c@host/d").password.as_deref(), Some("a@b:c"));
}

#[test]
fn no_file_is_read_and_no_socket_of_the_machine_is_opened() {
    assert!(complaint("host=/run/postgresql").contains("socket"));
    assert!(complaint("host=[/tmp]").contains("socket"));
    assert!(complaint("host=[]").contains("host"));
    assert!(complaint("host=a hostaddr=/tmp").contains("socket"));
    assert!(complaint("host=a sslrootcert=/etc/shadow").contains("files are not read"));
    assert!(complaint("postgres://a/b?passfile=/etc/shadow").contains("files are not read"));
}

#[test]
fn what_is_wrong_is_told_without_the_password() {
    for text in [
        "host=a password='hunter2",
        "hunter2",
        "host=a port=hunter2",
        "host=a sslmode=hunter2",
        "postgres://u:hunter2@/db",
        "postgres://u:hunter2@host/%ff",
        "host=a password=hunter2\\",
    ] {
        let told = complaint(text);
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert!(!format!("{:?}", settings("host=a password=hunter2")).contains("hunter2"));
}
