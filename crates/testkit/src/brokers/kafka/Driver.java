import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringSerializer;

/** Kafka's own client, driven by lines: one command in, "ok" or a sentence out. */
public final class Driver {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("acks", "all");
        try (Admin admin = Admin.create(settings);
                KafkaProducer<String, String> producer =
                        new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
                BufferedReader lines = new BufferedReader(new InputStreamReader(System.in))) {
            System.out.println("ok");
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                try {
                    obey(admin, producer, line.split(" "));
                    System.out.println("ok");
                } catch (Exception error) {
                    System.out.println(String.valueOf(error).replace('\n', ' '));
                }
            }
        }
    }

    private static void obey(Admin admin, KafkaProducer<String, String> producer, String[] words)
            throws Exception {
        switch (words[0]) {
            case "create":
                NewTopic topic = new NewTopic(words[1], Integer.parseInt(words[2]), (short) 1);
                admin.createTopics(List.of(topic)).all().get();
                break;
            case "produce":
                for (int sent = 0; sent < Integer.parseInt(words[3]); sent++) {
                    producer.send(new ProducerRecord<>(words[1], Integer.parseInt(words[2]), null, "m"));
                }
                producer.flush();
                break;
            case "commit":
                TopicPartition partition = new TopicPartition(words[2], Integer.parseInt(words[3]));
                OffsetAndMetadata offset = new OffsetAndMetadata(Long.parseLong(words[4]));
                admin.alterConsumerGroupOffsets(words[1], Map.of(partition, offset)).all().get();
                break;
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }
}
