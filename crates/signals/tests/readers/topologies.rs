//! Streams, clusters, sentinels and TLS, with real servers; each killed and started again in the middle.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_manifest::trigger::Source;
use tidegate_signals::redis::{Error, Redis as Reader};

use crate::redis::Redis;
use crate::server::free_address;
use crate::trigger::{of_type, secrets};

/// Servers agree among themselves in a second or two; a busy machine gets twenty times that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn reader(type_: &str, metadata: &[(&str, &str)], auth: &'static [(&'static str, &'static str)]) -> Reader {
    match of_type(type_, metadata, auth) {
        Source::RedisList(list) => Reader::list(&list, secrets(auth)).expect("a reader"),
        Source::RedisStream(stream) => Reader::stream(&stream, secrets(auth)).expect("a reader"),
        other => panic!("{other:?}"),
    }
}

/// Reads until the answer is the one expected.
async fn becomes(reader: &Reader, expected: impl Fn(&Result<Option<f64>, Error>) -> bool) {
    let begin = Instant::now();
    loop {
        let read = reader.read().await;
        if expected(&read) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "it is still {read:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stream_has_entries_pending_ones_and_a_lag() {
    let redis = Redis::start(free_address(), &[]).await;
    let address = redis.address.to_string();
    let read = async |more: &[(&str, &str)]| {
        let metadata = [&[("address", address.as_str()), ("stream", "jobs")], more].concat();
        reader("redis-streams", &metadata, &[]).read().await
    };
    let lag = [("consumerGroup", "g"), ("lagCount", "5")];
    assert_eq!(read(&[]).await, Ok(Some(0.0)), "a stream that is not there has no entries");
    assert_eq!(read(&lag).await, Ok(Some(0.0)), "nor a lag");
    for _ in 0..5 {
        redis.run(&["XADD", "jobs", "*", "prompt", "p"]).await;
    }
    assert_eq!(read(&[]).await, Ok(Some(5.0)));
    assert_eq!(read(&lag).await, Ok(Some(5.0)), "to a group that is not there all entries are new");
    redis.run(&["XGROUP", "CREATE", "jobs", "g", "0"]).await;
    redis.run(&["XREADGROUP", "GROUP", "g", "me", "COUNT", "2", "STREAMS", "jobs", ">"]).await;
    assert_eq!(read(&[("consumerGroup", "g")]).await, Ok(Some(2.0)));
    assert_eq!(read(&lag).await, Ok(Some(3.0)));
}

#[tokio::test]
async fn a_lag_that_redis_cannot_tell_is_no_zero() {
    let redis = Redis::start(free_address(), &[]).await;
    for id in ["1-0", "2-0", "3-0"] {
        redis.run(&["XADD", "jobs", id, "prompt", "p"]).await;
    }
    redis.run(&["XGROUP", "CREATE", "jobs", "g", "1-0"]).await;
    redis.run(&["XDEL", "jobs", "2-0"]).await;
    let address = redis.address.to_string();
    let metadata =
        [("address", address.as_str()), ("stream", "jobs"), ("consumerGroup", "g"), ("lagCount", "5")];
    assert_eq!(reader("redis-streams", &metadata, &[]).read().await, Ok(None));
    let unknown_group = [("address", address.as_str()), ("stream", "jobs"), ("consumerGroup", "other")];
    let error = reader("redis-streams", &unknown_group, &[]).read().await.expect_err("no such group");
    assert!(error.to_string().contains("NOGROUP"), "{error}");
}

/// Three nodes that share the slots.
struct Cluster {
    nodes: Vec<Option<Redis>>,
    addresses: Vec<SocketAddr>,
}

impl Cluster {
    /// The settings of one node. What the cluster knows of itself is kept outside the node's directory, so
    /// that it comes back as who it was.
    fn settings(home: &tempfile::TempDir, at: usize) -> Vec<String> {
        let file = home.path().join(format!("nodes-{at}.conf")).display().to_string();
        let settings = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            &file,
            "--cluster-require-full-coverage",
            "no",
        ];
        settings.map(str::to_owned).to_vec()
    }

    /// The bus takes a port of its own, which has to be free too.
    async fn node(home: &tempfile::TempDir, at: usize, address: SocketAddr) -> Redis {
        let bus = free_address().port().to_string();
        let mut settings = Cluster::settings(home, at);
        settings.extend(["--cluster-port".to_owned(), bus]);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Redis::start(address, &settings).await
    }

    async fn start(home: &tempfile::TempDir) -> Self {
        let addresses: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
        let mut nodes = Vec::new();
        for (at, address) in addresses.iter().enumerate() {
            nodes.push(Some(Cluster::node(home, at, *address).await));
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(addresses.iter().map(ToString::to_string));
        let output =
            create.args(["--cluster-replicas", "0", "--cluster-yes"]).output().expect("redis-cli runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        Cluster { nodes, addresses }
    }

    fn all(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

#[tokio::test]
async fn a_cluster_is_asked_at_the_node_that_has_the_key_and_again_when_that_comes_back() {
    let home = tempfile::tempdir().expect("a directory");
    let mut cluster = Cluster::start(&home).await;
    // One key for each node: these three lie in different thirds of the slots.
    let keys = ["jobs", "a", "b", "c", "d", "e", "f"];
    let mut readers = Vec::new();
    for key in keys {
        let addresses = cluster.all();
        let reader = reader("redis-cluster", &[("addresses", &addresses), ("listName", key)], &[]);
        becomes(&reader, |read| *read == Ok(Some(0.0))).await;
        readers.push(reader);
    }
    // A cluster answers also those who know one node alone.
    let first = cluster.addresses[0].to_string();
    for key in keys {
        let reader = reader("redis-cluster-streams", &[("address", &first), ("stream", key)], &[]);
        assert_eq!(reader.read().await, Ok(Some(0.0)), "{key}");
    }
    cluster.nodes[1] = None;
    let mut lost = 0;
    for reader in &readers {
        lost += usize::from(reader.read().await.is_err());
    }
    assert!(lost > 0 && lost < keys.len(), "{lost} of {} keys were at the node", keys.len());
    cluster.nodes[1] = Some(Cluster::node(&home, 1, cluster.addresses[1]).await);
    for reader in &readers {
        becomes(reader, |read| *read == Ok(Some(0.0))).await;
    }
}

/// A sentinel that watches `master` under the name `queue`.
async fn sentinel(home: &tempfile::TempDir, master: SocketAddr) -> Redis {
    let file = home.path().join("sentinel.conf");
    let text = format!(
        "sentinel monitor queue {} {} 1\nsentinel down-after-milliseconds queue 300\nsentinel failover-timeout \
         queue 2000\n",
        master.ip(),
        master.port()
    );
    std::fs::write(&file, text).expect("a file");
    Redis::start_as(free_address(), &[file.to_str().expect("a path"), "--sentinel"], &[], "+monitor master")
        .await
}

#[tokio::test]
async fn sentinels_say_who_the_master_is_also_after_it_has_died() {
    let home = tempfile::tempdir().expect("a directory");
    let master = Redis::start(free_address(), &[]).await;
    let of = format!("{} {}", master.address.ip(), master.address.port());
    let replica = Redis::start(free_address(), &["--replicaof", &of]).await;
    master.run(&["RPUSH", "jobs", "a", "b"]).await;
    let sentinel = sentinel(&home, master.address).await;
    let addresses = format!("{},{}", free_address(), sentinel.address);
    let metadata = [("addresses", addresses.as_str()), ("sentinelMaster", "queue"), ("listName", "jobs")];
    let reader = reader("redis-sentinel", &metadata, &[]);
    assert_eq!(reader.read().await, Ok(Some(2.0)));
    // The replica has to have the list, and the sentinel to know the replica, before the master goes.
    let begin = Instant::now();
    while replica.says(&["LLEN", "jobs"]).await != "int(2)" {
        assert!(begin.elapsed() < PATIENCE, "the replica does not follow");
        tokio::task::yield_now().await;
    }
    while !sentinel
        .says(&["SENTINEL", "REPLICAS", "queue"])
        .await
        .contains(&replica.address.port().to_string())
    {
        assert!(begin.elapsed() < PATIENCE, "the sentinel does not find the replica");
        tokio::task::yield_now().await;
    }
    drop(master);
    becomes(&reader, Result::is_err).await;
    // The sentinel makes the replica the master, and it has the list.
    becomes(&reader, |read| *read == Ok(Some(2.0))).await;
    let port = replica.address.port().to_string();
    assert!(sentinel.says(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "queue"]).await.contains(&port));
}

#[tokio::test]
async fn a_master_nobody_knows_is_an_error_that_names_it() {
    let home = tempfile::tempdir().expect("a directory");
    let master = Redis::start(free_address(), &[]).await;
    let sentinel = sentinel(&home, master.address).await;
    let address = sentinel.address.to_string();
    let metadata = [("address", address.as_str()), ("sentinelMaster", "other"), ("listName", "jobs")];
    let error =
        reader("redis-sentinel", &metadata, &[]).read().await.expect_err("no such master").to_string();
    assert!(error.contains("no master called other"), "{error}");
}

/// A certificate for 127.0.0.1 that vouches for itself, and its key.
fn certificate(home: &tempfile::TempDir) -> (String, String) {
    let path = |name: &str| home.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=redis", "-days", "2", "-keyout", &key, "-out", &cert])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .unwrap_or_else(|error| panic!("openssl: {error}; apt-get install -y openssl"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (cert, key)
}

#[tokio::test]
async fn tls_is_spoken_and_a_server_nobody_vouches_for_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let (cert, key) = certificate(&home);
    let tls = free_address();
    let port = tls.port().to_string();
    let settings =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let redis = Redis::start(free_address(), &settings).await;
    redis.run(&["RPUSH", "jobs", "a"]).await;
    let address = tls.to_string();
    let pem: &'static str = std::fs::read_to_string(&cert).expect("a certificate").leak();
    let metadata = [("address", address.as_str()), ("enableTLS", "true"), ("listName", "jobs")];
    let auth: &'static [(&'static str, &'static str)] = vec![("ca", pem)].leak();
    assert_eq!(reader("redis", &metadata, auth).read().await, Ok(Some(1.0)));
    let unsafe_ssl = [&metadata[..], &[("unsafeSsl", "true")]].concat();
    assert_eq!(reader("redis", &unsafe_ssl, &[]).read().await, Ok(Some(1.0)));
    let other = tempfile::tempdir().expect("a directory");
    let (stranger, _) = certificate(&other);
    let stranger: &'static str = std::fs::read_to_string(&stranger).expect("a certificate").leak();
    let auth: &'static [(&'static str, &'static str)] = vec![("ca", stranger)].leak();
    let error = reader("redis", &metadata, auth).read().await.expect_err("nobody vouches for it").to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_server_that_floods_is_cut_off_at_the_limit() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        // A text of 10 GB, begun.
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"$10000000000\r\n").await.expect("it reads");
        let mut written = 0_usize;
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &[b'x'; 65_536]).await.is_ok() {
            written += 65_536;
        }
        written
    });
    let error = reader("redis", &[("address", &address), ("listName", "jobs")], &[]).read().await;
    assert!(matches!(error, Err(Error::Server { .. })), "{error:?}");
    // What was written beyond the limit stands in the kernel's buffers.
    let written = server.await.expect("it ends when nobody reads");
    assert!(written < 64 << 20, "{written} bytes were taken");
}

#[tokio::test]
async fn a_server_that_comes_and_goes_leaves_no_connection_behind() {
    let address = free_address();
    let text = address.to_string();
    let reader = reader("redis", &[("address", &text), ("listName", "jobs")], &[]);
    for _ in 0..10 {
        let redis = Redis::start(address, &[]).await;
        assert_eq!(reader.read().await, Ok(Some(0.0)));
        let clients = redis.says(&["CLIENT", "LIST"]).await;
        // The reader's and the one that asks.
        assert_eq!(clients.matches("id=").count(), 2, "{clients}");
        drop(redis);
        becomes(&reader, Result::is_err).await;
    }
}
