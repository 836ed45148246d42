//! The carrier of clusters: TLS 1.3 over TCP, with raw public keys on both sides (RFC 8446, RFC 7250).

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature_with_raw_key},
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
        pem::PemObject as _,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroizing;

use crate::{
    channel::{Arriving, Carrier, Link},
    member::MemberKey,
    ticket::Address,
};

/// The secret half of a member's key.
#[derive(Clone)]
pub struct Identity {
    key: MemberKey,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// Makes a key from the system's randomness.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn random() -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(io::Error::other)?;
        Self::from_seed(&seed)
    }

    /// The key of a seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// Never for a seed of 32 bytes.
    pub fn from_seed(seed: &[u8; 32]) -> io::Result<Self> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8.len().saturating_add(seed.len())));
        der.extend_from_slice(PKCS8);
        der.extend_from_slice(seed);
        Self::of(&PrivatePkcs8KeyDer::from(der.as_slice()))
    }

    /// Reads an Ed25519 key in PEM (PKCS#8, not encrypted).
    ///
    /// # Errors
    /// The text is not such a key.
    pub fn from_pem(pem: &str) -> io::Result<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)?;
        Self::of(&der)
    }

    fn of(der: &PrivatePkcs8KeyDer<'_>) -> io::Result<Self> {
        let key = rustls::crypto::ring::sign::any_eddsa_type(der).map_err(io::Error::other)?;
        let public = key.public_key().ok_or_else(|| io::Error::other("the key has no public half"))?;
        let member = member(&public).map_err(io::Error::other)?;
        let certified = CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key);
        Ok(Self { key: member, certified: Arc::new(certified) })
    }

    /// The public half of the key.
    #[must_use]
    pub fn key(&self) -> MemberKey {
        self.key
    }
}

/// The beginning of an Ed25519 key as PKCS#8 version 1, before its 32 bytes (RFC 8410, section 7).
const PKCS8: &[u8] =
    &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The beginning of an Ed25519 public key as a SubjectPublicKeyInfo, before its 32 bytes (RFC 8410, section 4).
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The name of the protocol in TLS (ALPN).
const PROTOCOL: &[u8] = b"weighbridge-swarm/1";
/// The label of the keying material by which members prove themselves.
const EXPORTER: &[u8] = b"EXPORTER-weighbridge-swarm-v1";
/// The time for connecting, and for the handshake of TLS.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The member whose public key this is.
fn member(public: &[u8]) -> Result<MemberKey, Error> {
    let key = public.strip_prefix(SPKI).and_then(|key| key.try_into().ok());
    key.map(MemberKey::from_bytes).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Members over TLS and TCP.
pub struct TlsCarrier {
    key: MemberKey,
    listener: Option<TcpListener>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl TlsCarrier {
    /// Listens at an address; port 0 is any that is free. `lists` tells which members may connect, and be connected to.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(
        identity: &Identity,
        address: SocketAddr,
        lists: impl Fn(&MemberKey) -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(RawKeys { provider: Arc::clone(&provider), lists: Box::new(lists) });
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_client_cert_verifier(Arc::<RawKeys>::clone(&verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(
                &identity.certified,
            ))));
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Each connection shows that both sides have their keys now.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(
                &identity.certified,
            ))));
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self {
            key: identity.key,
            listener: Some(listener),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// The address at which it listens.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }
}

impl fmt::Debug for TlsCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsCarrier").field("key", &self.key).finish_non_exhaustive()
    }
}

#[async_trait]
impl Carrier for TlsCarrier {
    fn key(&self) -> MemberKey {
        self.key
    }

    async fn connect(&self, address: &Address) -> io::Result<Link> {
        let connecting = async {
            let stream = connect_to_any(address).await?;
            stream.set_nodelay(true)?;
            // The name is not sent, and nothing is compared with it: the key says who the other side is.
            let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
            let stream = self.connector.connect(name, stream).await?;
            let (_, connection) = stream.get_ref();
            let (peer, exporter) = ends(connection.peer_certificates(), connection.alpn_protocol(), |out| {
                connection.export_keying_material(out, EXPORTER, None)
            })?;
            Ok(Link { peer, exporter, stream: Box::new(stream) })
        };
        timed(connecting).await
    }

    async fn accept(&self) -> io::Result<Arriving> {
        let listener = self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let (stream, from) = listener.accept().await?;
        let acceptor = self.acceptor.clone();
        let handshake = async move {
            stream.set_nodelay(true)?;
            let stream = acceptor.accept(stream).await?;
            let (_, connection) = stream.get_ref();
            let (peer, exporter) = ends(connection.peer_certificates(), connection.alpn_protocol(), |out| {
                connection.export_keying_material(out, EXPORTER, None)
            })?;
            Ok(Link { peer, exporter, stream: Box::new(stream) })
        };
        Ok(Arriving { from: canonical(from), handshake: Box::pin(timed(handshake)) })
    }
}

fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// Connects to the first address of a name at which somebody answers.
async fn connect_to_any(address: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host(address.as_str()).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The key of the other side, and the keying material of the connection.
fn ends(
    shown: Option<&[CertificateDer<'_>]>,
    protocol: Option<&[u8]>,
    export: impl FnOnce([u8; 32]) -> Result<[u8; 32], Error>,
) -> io::Result<(MemberKey, [u8; 32])> {
    if protocol != Some(PROTOCOL) {
        return Err(io::Error::other("speaks another protocol"));
    }
    let [public] = shown.unwrap_or_default() else {
        return Err(io::Error::other("has not shown one key"));
    };
    let exporter = export([0; 32]).map_err(io::Error::other)?;
    Ok((member(public).map_err(io::Error::other)?, exporter))
}

async fn timed<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(CONNECT_TIME, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Judges the raw public key of the other side: an Ed25519 key that may be one of a member.
struct RawKeys {
    provider: Arc<CryptoProvider>,
    lists: Box<dyn Fn(&MemberKey) -> bool + Send + Sync>,
}

impl RawKeys {
    fn judge(&self, shown: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        let key = member(shown)?;
        if !others.is_empty() || !(self.lists)(&key) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(())
    }

    fn signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let public = SubjectPublicKeyInfoDer::from(shown.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &public, signed, algorithms)
    }
}

impl fmt::Debug for RawKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawKeys").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for RawKeys {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(shown, others).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(shown, others).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
