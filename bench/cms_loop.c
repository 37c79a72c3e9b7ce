/* What the same work costs with OpenSSL's own CMS functions: decrypt an envelope, verify a detached signature
 * over what was in it. Prints the median CPU time of one turn in microseconds.
 *
 * cms_loop ENVELOPE SIGNATURE IDENTITY.pem ROUNDS
 */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

int main(int argc, char **argv)
{
    if (argc != 5)
        fail("cms_loop ENVELOPE SIGNATURE IDENTITY.pem ROUNDS");
    long envelope_size, signature_size;
    char *envelope = slurp(argv[1], &envelope_size), *signature = slurp(argv[2], &signature_size);
    BIO *file = BIO_new_file(argv[3], "r");
    X509 *certificate = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
    if (!certificate || BIO_reset(file) != 0)
        fail("no certificate");
    EVP_PKEY *key = PEM_read_bio_PrivateKey(file, NULL, NULL, NULL);
    if (!key)
        fail("no key");
    int rounds = atoi(argv[4]);
    double *times = calloc(rounds, sizeof *times);
    for (int turn = 0; turn < rounds; turn++) {
        double started = cpu_us();
        BIO *in = BIO_new_mem_buf(envelope, (int)envelope_size), *out = BIO_new(BIO_s_mem());
        CMS_ContentInfo *enveloped = d2i_CMS_bio(in, NULL);
        if (!enveloped || !CMS_decrypt(enveloped, key, certificate, NULL, out, CMS_BINARY))
            fail("decrypt");
        char *content;
        long size = BIO_get_mem_data(out, &content);
        BIO *detached = BIO_new_mem_buf(content, (int)size), *in2 = BIO_new_mem_buf(signature, (int)signature_size);
        CMS_ContentInfo *signed_data = d2i_CMS_bio(in2, NULL);
        if (!signed_data
            || !CMS_verify(signed_data, NULL, NULL, detached, NULL, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY))
            fail("verify");
        CMS_ContentInfo_free(enveloped);
        CMS_ContentInfo_free(signed_data);
        BIO_free(in);
        BIO_free(in2);
        BIO_free(out);
        BIO_free(detached);
        times[turn] = cpu_us() - started;
    }
    qsort(times, rounds, sizeof *times, by_size);
    printf("%.1f\n", times[rounds / 2]);
    return 0;
}
