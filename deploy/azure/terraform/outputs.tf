output "resource_group" {
  value = local.group
}

output "registry" {
  description = "Server that images are pushed to."
  value       = local.registry.server
}

output "credentials_command" {
  description = "Makes kubectl and serin speak to the cluster."
  value       = "az aks get-credentials --resource-group ${local.group} --name ${azurerm_kubernetes_cluster.this.name}"
}

output "install_command" {
  description = "Installs Serin; run it in a clone of the repository, after credentials_command."
  value = join(" ", compact([
    "helm install serin charts/serin --namespace serin-system",
    var.mesh == "addon" ? "--set mesh.aksAddon=true,mesh.revision=${var.mesh_revision}" : "",
  ]))
}

output "key_vault" {
  value = azurerm_key_vault.this.name
}

output "scorers_client_id" {
  description = "Workload identity of the scorers: clientID of a SecretProviderClass."
  value       = azurerm_user_assigned_identity.scorers.client_id
}

output "pipeline_client_id" {
  description = "Identity of the pipeline: client-id of azure/login in a GitHub workflow."
  value       = one(azurerm_user_assigned_identity.pipeline[*].client_id)
}
