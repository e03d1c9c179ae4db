import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.stream.Collectors;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.BlockingInputStreamAsyncRequestBody;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.core.sync.ResponseTransformer;
import software.amazon.awssdk.protocols.jsoncore.JsonNode;
import software.amazon.awssdk.protocols.jsoncore.JsonNodeParser;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.retries.DefaultRetryStrategy;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.Bucket;
import software.amazon.awssdk.services.s3.model.NoSuchBucketException;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.S3Exception;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/** aws-sdk-java v2, spoken to by tests/clients/client.py: one JSON request a line in, one answer a line out. */
public final class Client {
  private final S3Client s3;
  private final S3AsyncClient async;
  private final S3Presigner presigner;

  private Client(JsonNode ask) {
    URI endpoint = URI.create(text(ask, "url"));
    var region = Region.of(text(ask, "region"));
    var key = AwsBasicCredentials.create(text(ask, "access_key"), text(ask, "secret_key"));
    var credentials = StaticCredentialsProvider.create(key);
    s3 =
        S3Client.builder()
            .endpointOverride(endpoint)
            .region(region)
            .credentialsProvider(credentials)
            .forcePathStyle(true)
            .overrideConfiguration(o -> o.retryStrategy(DefaultRetryStrategy.doNotRetry()))
            .build();
    async =
        S3AsyncClient.builder()
            .endpointOverride(endpoint)
            .region(region)
            .credentialsProvider(credentials)
            .forcePathStyle(true)
            .multipartEnabled(true)
            .overrideConfiguration(o -> o.retryStrategy(DefaultRetryStrategy.doNotRetry()))
            .build();
    presigner =
        S3Presigner.builder()
            .endpointOverride(endpoint)
            .region(region)
            .credentialsProvider(credentials)
            .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build())
            .build();
  }

  public static void main(String[] arguments) throws Exception {
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    JsonNodeParser parser = JsonNode.parser();
    Client client = null;
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonNode ask = parser.parse(line);
      try {
        String value = "null";
        if (text(ask, "op").equals("open")) {
          client = new Client(ask);
        } else {
          value = client.answer(ask);
        }
        out.println("{\"value\": " + value + "}");
      } catch (CompletionException error) {
        out.println("{\"error\": " + quoted(described(error.getCause())) + "}");
      } catch (RuntimeException error) {
        out.println("{\"error\": " + quoted(described(error)) + "}");
      }
    }
    System.exit(0);
  }

  private String answer(JsonNode ask) throws Exception {
    String bucket = text(ask, "bucket");
    String key = text(ask, "key");
    switch (text(ask, "op")) {
      case "put":
        s3.putObject(o -> o.bucket(bucket).key(key), RequestBody.fromFile(Path.of(text(ask, "file"))));
        return "null";
      case "put_async":
        async.putObject(o -> o.bucket(bucket).key(key), Path.of(text(ask, "file"))).join();
        return "null";
      case "upload":
        async.putObject(o -> o.bucket(bucket).key(key), AsyncRequestBody.fromFile(Path.of(text(ask, "file")))).join();
        return "null";
      case "stream":
        BlockingInputStreamAsyncRequestBody body = AsyncRequestBody.forBlockingInputStream(null);
        var stored = async.putObject(o -> o.bucket(bucket).key(key), body);
        try (var source = Files.newInputStream(Path.of(text(ask, "file")))) {
          body.writeInputStream(source);
        }
        stored.join();
        return "null";
      case "get":
        return get(ask, bucket, key);
      case "keys":
        return list(
            s3
                .listObjectsV2Paginator(o -> o.bucket(bucket).prefix(text(ask, "prefix")).maxKeys(5))
                .contents()
                .stream()
                .map(found -> found.key())
                .toList());
      case "delete":
        s3.deleteObject(o -> o.bucket(bucket).key(key));
        return "null";
      case "delete_many":
        List<ObjectIdentifier> listed =
            ask.field("keys").orElseThrow().asArray().stream()
                .map(name -> ObjectIdentifier.builder().key(name.asString()).build())
                .toList();
        var deleted = s3.deleteObjects(o -> o.bucket(bucket).delete(d -> d.objects(listed)));
        if (deleted.hasErrors()) {
          throw new IllegalStateException(deleted.errors().toString());
        }
        return "null";
      case "copy":
        s3.copyObject(
            o ->
                o.sourceBucket(text(ask, "source_bucket"))
                    .sourceKey(text(ask, "source_key"))
                    .destinationBucket(bucket)
                    .destinationKey(key));
        return "null";
      case "buckets":
        return list(s3.listBuckets().buckets().stream().map(Bucket::name).toList());
      case "has_bucket":
        try {
          s3.headBucket(o -> o.bucket(bucket));
          return "true";
        } catch (NoSuchBucketException error) {
          return "false";
        }
      case "presign_get":
        return quoted(
            presigner
                .presignGetObject(
                    o -> o.signatureDuration(Duration.ofMinutes(1)).getObjectRequest(g -> g.bucket(bucket).key(key)))
                .url()
                .toString());
      case "presign_put":
        return quoted(
            presigner
                .presignPutObject(
                    o -> o.signatureDuration(Duration.ofMinutes(1)).putObjectRequest(p -> p.bucket(bucket).key(key)))
                .url()
                .toString());
      default:
        throw new IllegalArgumentException("unknown operation");
    }
  }

  private String get(JsonNode ask, String bucket, String key) throws Exception {
    Path target = Path.of(text(ask, "file"));
    Files.deleteIfExists(target);
    try {
      s3.getObject(
          o -> o.bucket(bucket).key(key).range(text(ask, "range")).ifNoneMatch(text(ask, "if_none_match")),
          ResponseTransformer.toFile(target));
      return "null";
    } catch (S3Exception error) {
      if (error.statusCode() == 304) {
        return quoted("not modified");
      }
      throw error;
    }
  }

  private static String text(JsonNode ask, String name) {
    return ask.field(name).filter(JsonNode::isString).map(JsonNode::asString).orElse(null);
  }

  private static String described(Throwable error) {
    String code = error instanceof S3Exception s3Error ? s3Error.awsErrorDetails().errorCode() : "";
    return code + " " + error;
  }

  private static String list(List<String> names) {
    return names.stream().map(Client::quoted).collect(Collectors.joining(", ", "[", "]"));
  }

  private static String quoted(String text) {
    var out = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c < ' ' || c == '"' || c == '\\') {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    return out.append('"').toString();
  }
}
