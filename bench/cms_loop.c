/* What the same work costs with OpenSSL's own functions. Prints the lower quartile of the CPU time of one turn
 * in microseconds. Keys and certificates are read once, and no path is built.
 *
 * cms_loop open MESSAGE IDENTITY.pem ROUNDS
 *     read MESSAGE as it came by wire, decrypt it, read what was in it, verify the signature
 * cms_loop open-cms ENVELOPE SIGNATURE IDENTITY.pem ROUNDS FROM TO
 *     the same without MIME and base64: decrypt ENVELOPE, verify SIGNATURE over octets FROM to TO of the content
 * cms_loop seal ENTITY IDENTITY.pem ROUNDS
 *     sign ENTITY (detached, SHA-256), encrypt (AES-128-CBC, RSAES-OAEP with SHA-256), write it for the wire
 * cms_loop seal-cms CONTENT IDENTITY.pem ROUNDS
 *     the same without MIME and base64
 */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static EVP_PKEY *key;
static X509 *certificate;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static char *slurp(const char *name, long *size)
{
    FILE *file = fopen(name, "rb");
    if (!file)
        fail(name);
    fseek(file, 0, SEEK_END);
    *size = ftell(file);
    rewind(file);
    char *data = malloc(*size + 1);
    if (!data || fread(data, 1, *size, file) != (size_t)*size)
        fail(name);
    fclose(file);
    return data;
}

static void load_identity(const char *name)
{
    BIO *file = BIO_new_file(name, "r");
    certificate = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
    if (!certificate || BIO_reset(file) != 0)
        fail("no certificate");
    key = PEM_read_bio_PrivateKey(file, NULL, NULL, NULL);
    if (!key)
        fail("no key");
    BIO_free(file);
}

static int by_size(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void verify(CMS_ContentInfo *signed_data, BIO *content)
{
    int how = CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY;
    if (!signed_data || !CMS_verify(signed_data, NULL, NULL, content, NULL, how))
        fail("verify");
    CMS_ContentInfo_free(signed_data);
}

static void open_message(char *message, long size)
{
    BIO *in = BIO_new_mem_buf(message, (int)size), *out = BIO_new(BIO_s_mem()), *content = NULL;
    CMS_ContentInfo *enveloped = SMIME_read_CMS(in, NULL);
    if (!enveloped || !CMS_decrypt(enveloped, key, certificate, NULL, out, CMS_BINARY))
        fail("decrypt");
    CMS_ContentInfo *signed_data = SMIME_read_CMS(out, &content);
    verify(signed_data, content);
    CMS_ContentInfo_free(enveloped);
    BIO_free(in);
    BIO_free(out);
    BIO_free(content);
}

static void open_cms(char *envelope, long size, char *signature, long signature_size, long from, long to)
{
    BIO *in = BIO_new_mem_buf(envelope, (int)size), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *enveloped = d2i_CMS_bio(in, NULL);
    if (!enveloped || !CMS_decrypt(enveloped, key, certificate, NULL, out, CMS_BINARY))
        fail("decrypt");
    char *content;
    if (BIO_get_mem_data(out, &content) < to)
        fail("content too short");
    BIO *detached = BIO_new_mem_buf(content + from, (int)(to - from));
    BIO *in2 = BIO_new_mem_buf(signature, (int)signature_size);
    verify(d2i_CMS_bio(in2, NULL), detached);
    CMS_ContentInfo_free(enveloped);
    BIO_free(in);
    BIO_free(in2);
    BIO_free(out);
    BIO_free(detached);
}

static void seal(char *content, long size, int for_wire)
{
    /* Streaming hashes the entity while it is written, as `openssl cms -sign` does. */
    int how = CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP | (for_wire ? CMS_STREAM : 0);
    BIO *in = BIO_new_mem_buf(content, (int)size), *entity = BIO_new(BIO_s_mem());
    CMS_ContentInfo *signed_data = CMS_sign(certificate, key, NULL, in, how);
    if (!signed_data
        || !(for_wire ? SMIME_write_CMS(entity, signed_data, in, how) : i2d_CMS_bio(entity, signed_data)))
        fail("sign");
    BIO *plain = for_wire ? entity : BIO_new_mem_buf(content, (int)size), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *enveloped = CMS_encrypt(NULL, NULL, EVP_aes_128_cbc(), CMS_BINARY | CMS_PARTIAL);
    CMS_RecipientInfo *recipient
        = enveloped ? CMS_add1_recipient_cert(enveloped, certificate, CMS_KEY_PARAM) : NULL;
    EVP_PKEY_CTX *wrap = recipient ? CMS_RecipientInfo_get0_pkey_ctx(recipient) : NULL;
    if (!wrap || EVP_PKEY_CTX_set_rsa_padding(wrap, RSA_PKCS1_OAEP_PADDING) <= 0
        || EVP_PKEY_CTX_set_rsa_oaep_md(wrap, EVP_sha256()) <= 0
        || EVP_PKEY_CTX_set_rsa_mgf1_md(wrap, EVP_sha256()) <= 0
        || !CMS_final(enveloped, plain, NULL, CMS_BINARY)
        || !(for_wire ? SMIME_write_CMS(out, enveloped, NULL, 0) : i2d_CMS_bio(out, enveloped)))
        fail("encrypt");
    CMS_ContentInfo_free(enveloped);
    CMS_ContentInfo_free(signed_data);
    if (plain != entity)
        BIO_free(plain);
    BIO_free(in);
    BIO_free(entity);
    BIO_free(out);
}

int main(int argc, char **argv)
{
    const char *work = argc > 1 ? argv[1] : "";
    int apart = argc == 8 && !strcmp(work, "open-cms");
    if (!apart && (argc != 5 || (strcmp(work, "open") && strcmp(work, "seal") && strcmp(work, "seal-cms"))))
        fail("cms_loop open | open-cms | seal | seal-cms …, see the first lines of the source");
    long size, signature_size = 0;
    char *data = slurp(argv[2], &size), *signature = apart ? slurp(argv[3], &signature_size) : NULL;
    load_identity(argv[apart ? 4 : 3]);
    int rounds = atoi(argv[apart ? 5 : 4]);
    double *times = calloc(rounds, sizeof *times);
    for (int turn = 0; turn < rounds; turn++) {
        double started = cpu_us();
        if (apart)
            open_cms(data, size, signature, signature_size, atol(argv[6]), atol(argv[7]));
        else if (!strcmp(work, "open"))
            open_message(data, size);
        else
            seal(data, size, !strcmp(work, "seal"));
        times[turn] = cpu_us() - started;
    }
    qsort(times, rounds, sizeof *times, by_size);
    printf("%.1f\n", times[rounds / 4]);
    return 0;
}
