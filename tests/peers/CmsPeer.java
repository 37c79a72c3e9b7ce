// Another agent's hands: cryptographic messages by BouncyCastle, asked for line by line.
//
// Each line of standard input is a command with tabs between its words; each is answered by one line, "ok" with
// what was found, or "error" with why. Files are DER; content is as it is.
//
//   decrypt ENVELOPE KEY CERTIFICATE OUT
//   verify  SIGNATURE CONTENT|- ANCHOR OUT|-
//   encrypt CONTENT OUT CIPHER TRANSPORT BUFFER CERTIFICATE…
//   sign    CONTENT OUT KEY CERTIFICATE DIGEST detached|opaque BUFFER
//
// What it writes has indefinite lengths, and content in pieces of BUFFER octets.

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.interfaces.ECPublicKey;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import java.security.spec.MGF1ParameterSpec;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.cms.CMSAlgorithm;
import org.bouncycastle.cms.CMSAuthEnvelopedData;
import org.bouncycastle.cms.CMSEnvelopedDataParser;
import org.bouncycastle.cms.CMSEnvelopedDataStreamGenerator;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.CMSSignedDataStreamGenerator;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.cms.jcajce.JceCMSContentEncryptorBuilder;
import org.bouncycastle.cms.jcajce.JceKeyAgreeEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.JceKeyTransAuthEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransRecipientInfoGenerator;
import org.bouncycastle.cms.KeyTransRecipientId;
import org.bouncycastle.cms.KeyAgreeRecipientId;
import org.bouncycastle.cms.KeyTransRecipientInformation;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.jcajce.JcaAlgorithmParametersConverter;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.util.Store;

public class CmsPeer {
    static final String BC = BouncyCastleProvider.PROVIDER_NAME;
    static final Map<String, ASN1ObjectIdentifier> CIPHERS = Map.of(
        "aes128-cbc", CMSAlgorithm.AES128_CBC,
        "aes192-cbc", CMSAlgorithm.AES192_CBC,
        "aes256-cbc", CMSAlgorithm.AES256_CBC);

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            String answer;
            try {
                answer = "ok\t" + answer(line.split("\t"));
            } catch (Exception | AssertionError error) {
                answer = "error\t" + error;
            }
            System.out.println(answer.replace('\n', ' ').replace('\r', ' '));
            System.out.flush();
        }
    }

    static String answer(String[] words) throws Exception {
        switch (words[0]) {
            case "decrypt": return decrypt(words);
            case "verify": return verify(words);
            case "encrypt": return encrypt(words);
            case "sign": return sign(words);
            default: throw new IllegalArgumentException("no such command: " + words[0]);
        }
    }

    static byte[] read(String name) throws Exception {
        return Files.readAllBytes(Path.of(name));
    }

    static X509Certificate certificate(String name) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509", BC);
        return (X509Certificate) factory.generateCertificate(new ByteArrayInputStream(read(name)));
    }

    static PrivateKey key(String name, X509Certificate certificate) throws Exception {
        String kind = certificate.getPublicKey() instanceof ECPublicKey ? "EC" : "RSA";
        return KeyFactory.getInstance(kind, BC).generatePrivate(new PKCS8EncodedKeySpec(read(name)));
    }

    static String decrypt(String[] words) throws Exception {
        X509Certificate certificate = certificate(words[3]);
        PrivateKey key = key(words[2], certificate);
        byte[] envelope = read(words[1]);
        boolean authenticated = isAuthenticated(envelope);
        Collection<RecipientInformation> recipients;
        String cipher;
        if (authenticated) {
            CMSAuthEnvelopedData data = new CMSAuthEnvelopedData(envelope);
            recipients = data.getRecipientInfos().getRecipients();
            cipher = "authenticated";
        } else {
            CMSEnvelopedDataParser data = new CMSEnvelopedDataParser(envelope);
            recipients = data.getRecipientInfos().getRecipients();
            cipher = data.getEncryptionAlgOID();
        }
        X509CertificateHolder holder = new X509CertificateHolder(certificate.getEncoded());
        for (RecipientInformation each : recipients) {
            boolean transported = each instanceof KeyTransRecipientInformation;
            boolean mine = transported
                ? new KeyTransRecipientId(holder.getIssuer(), holder.getSerialNumber()).match(each)
                : new KeyAgreeRecipientId(holder.getIssuer(), holder.getSerialNumber()).match(each);
            if (!mine) {
                continue;
            }
            byte[] content = authenticated
                ? each.getContent(new JceKeyTransAuthEnvelopedRecipient(key).setProvider(BC))
                : each.getContent(transported
                    ? new JceKeyTransEnvelopedRecipient(key).setProvider(BC)
                    : new JceKeyAgreeEnvelopedRecipient(key).setProvider(BC));
            Files.write(Path.of(words[4]), content);
            return cipher + "\t" + each.getKeyEncryptionAlgOID() + "\t" + recipients.size();
        }
        throw new IllegalStateException("no recipient is this certificate");
    }

    static boolean isAuthenticated(byte[] envelope) throws Exception {
        return ContentInfo.getInstance(envelope).getContentType().equals(CMSObjectIdentifiers.authEnvelopedData);
    }

    static String verify(String[] words) throws Exception {
        CMSSignedData data = words[2].equals("-")
            ? new CMSSignedData(read(words[1]))
            : new CMSSignedData(new CMSProcessableByteArray(read(words[2])), read(words[1]));
        X509Certificate anchor = certificate(words[3]);
        Store<X509CertificateHolder> certificates = data.getCertificates();
        TreeSet<String> algorithms = new TreeSet<>();
        if (data.getSignerInfos().size() == 0) {
            throw new IllegalStateException("nobody signed");
        }
        for (SignerInformation signer : data.getSignerInfos()) {
            Collection<X509CertificateHolder> found = certificates.getMatches(signer.getSID());
            X509CertificateHolder holder = found.iterator().next();
            if (!signer.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider(BC).build(holder))) {
                throw new IllegalStateException("the signature does not verify");
            }
            leadsTo(holder, anchor, certificates);
            algorithms.add(signer.getDigestAlgOID() + " " + signer.getEncryptionAlgOID());
        }
        if (!words[4].equals("-")) {
            Files.write(Path.of(words[4]), (byte[]) data.getSignedContent().getContent());
        }
        return String.join(",", algorithms) + "\t" + certificates.getMatches(null).size();
    }

    static void leadsTo(X509CertificateHolder holder, X509Certificate anchor, Store<X509CertificateHolder> others)
        throws Exception {
        JcaX509CertificateConverter converter = new JcaX509CertificateConverter().setProvider(BC);
        X509CertificateHolder at = holder;
        for (int step = 0; step < 5; step++) {
            X509Certificate one = converter.getCertificate(at);
            one.checkValidity();
            if (one.getIssuerX500Principal().equals(anchor.getSubjectX500Principal())) {
                one.verify(anchor.getPublicKey(), BC);
                return;
            }
            X509CertificateHolder issuer = null;
            for (X509CertificateHolder each : others.getMatches(null)) {
                if (each.getSubject().equals(at.getIssuer())) {
                    issuer = each;
                }
            }
            if (issuer == null) {
                break;
            }
            one.verify(converter.getCertificate(issuer).getPublicKey(), BC);
            at = issuer;
        }
        throw new IllegalStateException("the signer does not lead to the anchor");
    }

    static AlgorithmIdentifier oaep(String digest) throws Exception {
        OAEPParameterSpec parameters = digest.equals("sha1")
            ? OAEPParameterSpec.DEFAULT
            : new OAEPParameterSpec(digest, "MGF1", new MGF1ParameterSpec(digest), PSource.PSpecified.DEFAULT);
        return new JcaAlgorithmParametersConverter()
            .getAlgorithmIdentifier(PKCSObjectIdentifiers.id_RSAES_OAEP, parameters);
    }

    static String encrypt(String[] words) throws Exception {
        CMSEnvelopedDataStreamGenerator generator = new CMSEnvelopedDataStreamGenerator();
        generator.setBufferSize(Integer.parseInt(words[5]));
        for (int at = 6; at < words.length; at++) {
            X509Certificate certificate = certificate(words[at]);
            if (certificate.getPublicKey() instanceof ECPublicKey) {
                KeyPairGenerator keys = KeyPairGenerator.getInstance("EC", BC);
                keys.initialize(((ECPublicKey) certificate.getPublicKey()).getParams());
                KeyPair own = keys.generateKeyPair();
                generator.addRecipientInfoGenerator(new JceKeyAgreeRecipientInfoGenerator(
                    CMSAlgorithm.ECDH_SHA256KDF, own.getPrivate(), own.getPublic(), CMSAlgorithm.AES128_WRAP)
                    .addRecipient(certificate).setProvider(BC));
            } else if (words[4].equals("pkcs1v15")) {
                generator.addRecipientInfoGenerator(
                    new JceKeyTransRecipientInfoGenerator(certificate).setProvider(BC));
            } else {
                String digest = words[4].substring("oaep-".length());
                String name = digest.equals("sha1") ? digest : "SHA-" + digest.substring(3);
                generator.addRecipientInfoGenerator(
                    new JceKeyTransRecipientInfoGenerator(certificate, oaep(name)).setProvider(BC));
            }
        }
        try (OutputStream file = new FileOutputStream(words[2])) {
            OutputStream out = generator.open(
                file, new JceCMSContentEncryptorBuilder(CIPHERS.get(words[3])).setProvider(BC).build());
            out.write(read(words[1]));
            out.close();
        }
        return "";
    }

    static String sign(String[] words) throws Exception {
        X509Certificate certificate = certificate(words[4]);
        PrivateKey key = key(words[3], certificate);
        String kind = certificate.getPublicKey() instanceof ECPublicKey ? "withECDSA" : "withRSA";
        CMSSignedDataStreamGenerator generator = new CMSSignedDataStreamGenerator();
        generator.setBufferSize(Integer.parseInt(words[7]));
        generator.addSignerInfoGenerator(new JcaSignerInfoGeneratorBuilder(
            new JcaDigestCalculatorProviderBuilder().setProvider(BC).build())
            .build(new JcaContentSignerBuilder(words[5].toUpperCase() + kind).setProvider(BC).build(key), certificate));
        generator.addCertificates(new JcaCertStore(List.of(certificate)));
        try (OutputStream file = new FileOutputStream(words[2])) {
            OutputStream out = generator.open(file, words[6].equals("opaque"));
            out.write(read(words[1]));
            out.close();
        }
        return "";
    }
}
